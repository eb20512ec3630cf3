// SPDX-License-Identifier: Apache-2.0
// When to give up: a deadline, a flag that another thread sets, a question that the caller may ask its own
// world (Ctrl-C), and an amount of work.  Only the last makes a run end at the same place every time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>

namespace stagewright {

class Stop {
   public:
    using Clock = std::chrono::steady_clock;

    static constexpr std::int64_t kEndless = std::numeric_limits<std::int64_t>::max();

    Stop(double seconds, std::function<bool()> interrupted,
         const std::atomic<bool>* cancelled = nullptr, std::int64_t work = kEndless)
        : deadline_(Clock::now() +
                    std::chrono::duration_cast<Clock::duration>(
                        std::chrono::duration<double>(seconds < 1e8 ? seconds : 1e8))),
          interrupted_(std::move(interrupted)),
          cancelled_(cancelled),
          work_left_(work) {}

    /// Counts work, in units of roughly a nanosecond on one core; stops when it is used up.
    void spend(std::int64_t units) {
        work_left_ -= units;
        if (work_left_ < 0) stopped_ = true;
    }

    /// Where other threads may read what a call has shown so far, see tell().
    void tell_to(std::atomic<std::int64_t>* reached) { reached_ = reached; }
    void tell(std::int64_t value) {
        if (reached_ != nullptr) reached_->store(value, std::memory_order_relaxed);
    }

    /// Whether the amount of work was the reason.
    [[nodiscard]] bool exhausted() const { return work_left_ < 0; }

    /// Cheap enough for inner loops: looks at the clock on every 64th call only.
    bool operator()() {
        if (stopped_ || (++calls_ & 63U) != 0) return stopped_;
        return now();
    }

    bool now() {
        if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) stopped_ = true;
        if (stopped_) return true;
        const auto time = Clock::now();
        if (time >= deadline_) stopped_ = true;
        if (!stopped_ && interrupted_ && time >= next_question_) {
            next_question_ = time + std::chrono::milliseconds(20);
            if (interrupted_()) stopped_ = true;
        }
        return stopped_;
    }

   private:
    Clock::time_point deadline_;
    Clock::time_point next_question_{};
    std::function<bool()> interrupted_;
    const std::atomic<bool>* cancelled_;
    std::atomic<std::int64_t>* reached_ = nullptr;
    std::int64_t work_left_;
    unsigned calls_ = 0;
    bool stopped_ = false;
};

}  // namespace stagewright
