// SPDX-License-Identifier: Apache-2.0
// Counts the bytes that a process has allocated, and the most it had at once since a mark.
//
// Loaded before the C library (LD_PRELOAD), it sees every allocation of the runtime's own code.  What is
// counted is what was asked for, held in a header before each block: pages and arenas do not blur it.
#include <dlfcn.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

using Malloc = void* (*)(std::size_t);
using Free = void (*)(void*);

struct Header {
    void* block;
    std::size_t size;
    std::uint64_t magic;
    std::uint64_t unused;
};
constexpr std::uint64_t kMagic = 0x6c6976652d627974;

std::atomic<long> live{0}, peak{0};
alignas(64) char early[1 << 16];
std::atomic<std::size_t> early_used{0};

void count(long change) {
    const long now = live.fetch_add(change, std::memory_order_relaxed) + change;
    long known = peak.load(std::memory_order_relaxed);
    while (now > known && !peak.compare_exchange_weak(known, now, std::memory_order_relaxed)) {
    }
}

template <class Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

bool is_early(const void* p) { return p >= early && p < early + sizeof early; }

void* raw(std::size_t size) {
    static thread_local bool resolving = false;
    static std::atomic<Malloc> real{nullptr};
    Malloc function = real.load(std::memory_order_acquire);
    if (function == nullptr) {
        if (resolving) {  // dlsym itself allocates: serve it from a buffer that is never freed
            const std::size_t at = early_used.fetch_add((size + 63) / 64 * 64);
            return at + size <= sizeof early ? early + at : nullptr;
        }
        resolving = true;
        function = next<Malloc>("malloc");
        resolving = false;
        real.store(function, std::memory_order_release);
    }
    return function(size);
}

void* allocate(std::size_t alignment, std::size_t size) {
    if (alignment < alignof(std::max_align_t)) alignment = alignof(std::max_align_t);
    void* block = raw(size + alignment + sizeof(Header));
    if (block == nullptr) return nullptr;
    auto at = reinterpret_cast<std::uintptr_t>(block) + sizeof(Header);
    at = (at + alignment - 1) / alignment * alignment;
    auto* header = reinterpret_cast<Header*>(at) - 1;
    *header = {block, size, kMagic, 0};
    count(static_cast<long>(size));
    return reinterpret_cast<void*>(at);
}

void release(void* p) {
    if (p == nullptr) return;
    auto* header = static_cast<Header*>(p) - 1;
    if (header->magic != kMagic) return;  // not ours: from before we were loaded
    header->magic = 0;
    count(-static_cast<long>(header->size));
    if (is_early(header->block)) return;
    static const auto real = next<Free>("free");
    real(header->block);
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) { return allocate(0, size); }
void free(void* p) { release(p); }
void* calloc(std::size_t n, std::size_t size) {
    void* p = allocate(0, n * size);
    return p == nullptr ? p : std::memset(p, 0, n * size);
}
void* realloc(void* p, std::size_t size) {
    void* grown = allocate(0, size);
    if (p != nullptr && grown != nullptr) {
        const std::size_t before = (static_cast<Header*>(p) - 1)->size;
        std::memcpy(grown, p, before < size ? before : size);
        release(p);
    }
    return grown;
}
int posix_memalign(void** p, std::size_t alignment, std::size_t size) {
    *p = allocate(alignment, size);
    return *p == nullptr ? 12 : 0;
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return allocate(alignment, size); }
void* memalign(std::size_t alignment, std::size_t size) { return allocate(alignment, size); }
void* valloc(std::size_t size) { return allocate(4096, size); }
std::size_t malloc_usable_size(void* p) {
    return p == nullptr ? 0 : (static_cast<Header*>(p) - 1)->size;
}

long live_bytes_now() { return live.load(); }
long live_bytes_peak() { return peak.load(); }
void live_bytes_mark() { peak.store(live.load()); }
}
