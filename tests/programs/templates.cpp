// C++: templates, lambdas, virtual calls and exceptions. Three paths split the CPU 50 : 30 : 20 and publish it.
//   templates FILE
#include "published.h"
#include <stdexcept>
#include <string>
#include <vector>
#define NI __attribute__((noinline))

namespace shop {
static volatile unsigned long sink;

template <typename T, int Rounds> struct Burner {
  NI static void spin(T seed, uint64_t until) {
    do
      for (int i = 0; i < Rounds; i++) sink = sink + (static_cast<unsigned long>(i) ^ (sink >> 3)) + static_cast<unsigned long>(seed);
    while (thread_cpu_ns() < until);
  }
};

template <typename T> NI void sorted(std::vector<T> &values, uint64_t until) {
  Burner<T, 20000>::spin(values.front(), until);
  sink = sink + static_cast<unsigned long>(values.size());
}

struct Shape {
  virtual ~Shape() = default;
  virtual void draw(uint64_t until) = 0;
};
struct Circle final : Shape {
  NI void draw(uint64_t until) override { Burner<long, 30000>::spin(7, until); sink = sink + 1; }
};

// The cost lies in the handler, behind a throw through three frames.
NI void thrower(int depth) {
  if (depth == 0) throw std::runtime_error(std::string("depth ") + std::to_string(sink & 1));
  thrower(depth - 1);
  sink = sink + 1;
}
NI void catcher(uint64_t until) {
  do {
    try {
      thrower(3);
    } catch (const std::runtime_error &error) {
      sink = sink + error.what()[0];
    }
  } while (thread_cpu_ns() < until);
}
} // namespace shop

int main(int count, char **words) {
  if (count < 2) return 2;
  publish_to(words[1], 3);
  std::vector<double> values{3, 1, 2};
  shop::Shape *volatile shape = new shop::Circle;
  for (;;) {
    uint64_t start = thread_cpu_ns();
    shop::sorted(values, start + 5000000);
    uint64_t first = thread_cpu_ns();
    publish(0, first - start);
    shape->draw(first + 3000000);
    uint64_t second = thread_cpu_ns();
    publish(1, second - first);
    shop::catcher(second + 2000000);
    publish(2, thread_cpu_ns() - second);
  }
}
