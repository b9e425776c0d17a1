// Waits for what the C++ library has, while somebody else holds it, and measures it. One line in: a line `kind ns` for each kind.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <thread>

#define NI __attribute__((noinline, noclone))
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

static std::mutex mutex, of_condition;
static std::shared_mutex shared;
static std::condition_variable condition;
static bool told;
static std::atomic<bool> held;
static std::atomic<int> sink;

NI static void wait_mutex() { mutex.lock(); sink++; }
NI static void wait_shared() { shared.lock_shared(); sink++; }
NI static void wait_condition(std::unique_lock<std::mutex> &lock) { condition.wait(lock, [] { return told; }); sink++; }
NI static void wait_future(std::future<int> &future) { sink += future.get(); sink++; }
NI static void release_mutex() { mutex.unlock(); sink++; }
NI static void release_shared() { shared.unlock(); sink++; }
NI static void release_condition() { condition.notify_one(); sink++; }
NI static void release_future(std::promise<int> &promise) { promise.set_value(1); sink++; }

// `hold` runs in another thread: it takes something, says so, and gives it back 20 ms later.
template <class Hold, class Wait> NI static void turn(const char *kind, Hold hold, Wait wait) {
  Clock::duration sum{};
  for (int i = 0; i < 15; i++) {
    held = told = false;
    std::thread holder([&] { hold(); std::this_thread::sleep_for(2ms); });
    while (!held) std::this_thread::sleep_for(200us);
    std::this_thread::sleep_for(1ms);
    sum += wait();
    std::this_thread::sleep_for(4ms);
    holder.join();
  }
  std::printf("%s %lld\n", kind, (long long)std::chrono::nanoseconds(sum).count());
}

static void stay() { held = true; std::this_thread::sleep_for(20ms); }
template <class Wait> static Clock::duration timed(Wait wait) {
  auto from = Clock::now();
  wait();
  return Clock::now() - from;
}

int main() {
  char line[16];
  std::puts("ready");
  std::fflush(stdout);
  while (std::fgets(line, sizeof line, stdin)) {
    turn("mutex", [] { mutex.lock(); stay(); release_mutex(); },
         [] { auto time = timed(wait_mutex); mutex.unlock(); return time; });
    turn("shared", [] { shared.lock(); stay(); release_shared(); },
         [] { auto time = timed(wait_shared); shared.unlock_shared(); return time; });
    turn("condition",
         [] { stay(); { std::lock_guard<std::mutex> lock(of_condition); told = true; } release_condition(); },
         [] { std::unique_lock<std::mutex> lock(of_condition); return timed([&] { wait_condition(lock); }); });
    std::promise<int> promise;
    turn("future", [&] { stay(); release_future(promise); },
         [&] { auto future = promise.get_future(); auto time = timed([&] { wait_future(future); }); promise = {}; return time; });
    std::puts("done");
    std::fflush(stdout);
  }
}
