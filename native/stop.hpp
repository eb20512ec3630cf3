// SPDX-License-Identifier: Apache-2.0
// When to give up: a deadline, and a question that the caller may ask its own world (Ctrl-C).
#pragma once

#include <chrono>
#include <functional>

namespace stagewright {

class Stop {
   public:
    using Clock = std::chrono::steady_clock;

    Stop(double seconds, std::function<bool()> interrupted)
        : deadline_(Clock::now() +
                    std::chrono::duration_cast<Clock::duration>(
                        std::chrono::duration<double>(seconds < 1e8 ? seconds : 1e8))),
          interrupted_(std::move(interrupted)) {}

    /// Cheap enough for inner loops: looks at the clock on every 64th call only.
    bool operator()() {
        if (stopped_ || (++calls_ & 63U) != 0) return stopped_;
        return now();
    }

    bool now() {
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
    unsigned calls_ = 0;
    bool stopped_ = false;
};

}  // namespace stagewright
