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
