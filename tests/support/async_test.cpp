#include "support/async.hpp"

#include "run.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace px {
namespace {

using namespace std::chrono_literals;
using testing::run;

awaitable<void> count_after(std::chrono::milliseconds pause, int& count) {
  co_await sleep_for(pause);
  ++count;
}

awaitable<void> fail_after(std::chrono::milliseconds pause) {
  co_await sleep_for(pause);
  throw Error{Errc::server, "broken"};
}

TEST(All, waitsForEveryOperation) {
  int count = 0;
  run([&]() -> awaitable<void> {
    std::vector<awaitable<void>> work;
    for (int i = 0; i < 5; ++i) work.push_back(count_after(1ms * i, count));
    co_await all(std::move(work));
  }());
  EXPECT_EQ(count, 5);
}

TEST(All, cancelsTheRestAndThrowsTheFirstError) {
  int count = 0;
  const auto started = std::chrono::steady_clock::now();
  EXPECT_THROW(run([&]() -> awaitable<void> {
                 std::vector<awaitable<void>> work;
                 work.push_back(count_after(10s, count));
                 work.push_back(fail_after(1ms));
                 co_await all(std::move(work));
               }()),
               Error);
  EXPECT_EQ(count, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - started, 5s);
}

TEST(WithDeadline, throwsTimeoutAfterTheOperationHasEnded) {
  int count = 0;
  try {
    run(with_deadline(count_after(10s, count), Deadline::after(5ms), "counting"));
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Errc::timeout);
    EXPECT_EQ(e.doing, "counting");
  }
  EXPECT_EQ(count, 0);
}

/// Tries again whatever ran out of time, as a retry does; gives up by itself after `most` tries.
awaitable<void> try_again(Deadline each, int most, int& tries) {
  while (tries < most) {
    ++tries;
    try {
      int ignored = 0;
      co_await with_deadline(count_after(10s, ignored), each, "trying");
    } catch (const Error&) {
    }
  }
}

TEST(WithDeadline, endsWhatJustRanOutOfItsOwnTime) {
  int tries = 0;
  const auto limit = Deadline::after(5ms);
  EXPECT_THROW(run(with_deadline(try_again(limit, 5, tries), limit, "outer")), Error);
  EXPECT_LE(tries, 2);  // at its next wait at the latest
}

TEST(WithDeadline, endsWhatFailsWhileItIsCancelled) {
  int tries = 0;
  auto fail_when_cancelled = [&]() -> awaitable<void> {
    try {
      co_await sleep_for(10s);
    } catch (const boost::system::system_error&) {
    }
    throw Error{Errc::busy, "busy"};
  };
  auto retry = [&]() -> awaitable<void> {
    while (tries < 5) {
      ++tries;
      std::vector<awaitable<void>> one;
      one.push_back(fail_when_cancelled());
      try {
        co_await all(std::move(one));
      } catch (const Error&) {
      }
    }
  };
  EXPECT_THROW(run(with_deadline(retry(), Deadline::after(5ms), "outer")), Error);
  EXPECT_EQ(tries, 1);
}

TEST(WithCleanup, canBeCancelledAfterABodyThatFailed) {
  int tries = 0;
  auto fail = [&]() -> awaitable<void> {
    co_await sleep_for(1ms);
    throw Error{Errc::busy, "busy"};
  };
  auto retry = [&]() -> awaitable<void> {
    while (tries < 100) {
      ++tries;
      int ignored = 0;
      try {
        co_await with_cleanup(fail(), count_after(1ms, ignored));
      } catch (const Error&) {
      }
    }
  };
  EXPECT_THROW(run(with_deadline(retry(), Deadline::after(20ms), "outer")), Error);
  EXPECT_LT(tries, 50);
}

TEST(WithCleanup, cleansUpAfterABodyThatEndedAsItWasCancelled) {
  int cleaned = 0;
  auto end_though_cancelled = []() -> awaitable<void> {
    try {
      co_await sleep_for(10s);
    } catch (const boost::system::system_error&) {
    }
  };
  EXPECT_THROW(run(with_deadline(with_cleanup(end_though_cancelled(), count_after(1ms, cleaned)),
                                 Deadline::after(5ms), "outer")),
               Error);
  EXPECT_EQ(cleaned, 1);
}

TEST(Shielded, endsItsWorkThoughTheCallerIsCancelled) {
  int count = 0;
  EXPECT_THROW(
      run(with_deadline(shielded(count_after(50ms, count)), Deadline::after(5ms), "shielded")),
      Error);
  EXPECT_EQ(count, 1);
}

TEST(Semaphore, servesInOrderAndForgetsCancelledWaiters) {
  std::vector<int> order;
  run([&]() -> awaitable<void> {
    Semaphore one{1};
    auto use = [&](int number) -> awaitable<void> {
      auto permit = co_await one.acquire();
      co_await sleep_for(2ms);
      order.push_back(number);
    };
    auto give_up = [&]() -> awaitable<void> {
      try {
        co_await with_deadline(use(99), Deadline::after(1ms), "waiting");
      } catch (const Error&) {
      }
    };
    std::vector<awaitable<void>> work;
    work.push_back(use(1));
    work.push_back(give_up());
    work.push_back(use(2));
    work.push_back(use(3));
    co_await all(std::move(work));
    EXPECT_EQ(one.waiting(), 0U);
  }());
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST(RunInPool, returnsOnTheCallersThreadWithTheResultOrTheError) {
  run([]() -> awaitable<void> {
    asio::thread_pool pool{1};
    const auto here = std::this_thread::get_id();
    const auto there = co_await run_in_pool(pool, [] { return std::this_thread::get_id(); });
    EXPECT_NE(here, there);
    EXPECT_EQ(here, std::this_thread::get_id());
    bool failed = false;
    try {
      co_await run_in_pool(pool, []() -> int { throw Error{Errc::internal, "no"}; });
    } catch (const Error&) {
      failed = true;
    }
    EXPECT_TRUE(failed);
  }());
}

}  // namespace
}  // namespace px
