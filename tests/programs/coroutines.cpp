// Coroutines that resume each other: a generator below a task below main; the leaves burn in the proportion 2 to 1.
#include <coroutine>
#include <cstdint>
#include <cstdio>
#include <utility>

static volatile std::uint64_t sink;

__attribute__((noinline)) static void burn_twice() {
    for (std::uint64_t i = 0; i < 200000; i++) sink = sink * 2862933555777941757ull + 3037000493ull;
}

__attribute__((noinline)) static void burn_once() {
    for (std::uint64_t i = 0; i < 100000; i++) sink = sink * 2862933555777941757ull + 3037000493ull;
}

// Runs until its next value or end when resumed.
struct Steps {
    struct promise_type {
        int value = 0;
        Steps get_return_object() { return Steps{std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(int next) {
            value = next;
            return {};
        }
        void return_void() {}
        void unhandled_exception() {}
    };
    explicit Steps(std::coroutine_handle<promise_type> handle) : handle(handle) {}
    Steps(Steps &&other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
    ~Steps() {
        if (handle) handle.destroy();
    }
    __attribute__((noinline)) int next() {
        handle.resume();
        return handle.promise().value;
    }
    std::coroutine_handle<promise_type> handle;
};

static Steps inner() {
    for (int n = 0;; n++) {
        burn_twice();
        co_yield n;
    }
}

static Steps outer() {
    Steps below = inner();
    for (;;) {
        burn_once();
        co_yield below.next();
    }
}

int main() {
    Steps all = outer();
    std::puts("ready");
    std::fflush(stdout);
    for (;;) sink = sink + static_cast<std::uint64_t>(all.next());
}
