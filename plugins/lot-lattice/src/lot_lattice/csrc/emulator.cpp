// The code of the device on the host, lane by lane: the operators of lot_lattice_emulated, for tests.
//
// Between two barriers the lanes run one after the other, in an order that `shuffle` chooses: whatever depends on the
// order is a race. Memory that was not written holds NaN, and what was fetched arrives only when it is waited for.
#include <algorithm>
#include <deque>
#include <limits>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "grid_columns.h"
#include "grid_team.h"
#include "tensors.h"

namespace lot {
namespace LOT_TARGET {
namespace {

std::mt19937 order_source;
bool shuffled = false;

template <class Real>
class Executor {
 public:
  explicit Executor(int count) : order_(static_cast<size_t>(count)), fetched_(static_cast<size_t>(count)) {
    std::iota(order_.begin(), order_.end(), 0);
  }
  template <class F>
  void lanes(F&& f) {
    each(f);
  }
  template <class F>
  void each(F&& f) {
    if (shuffled) std::shuffle(order_.begin(), order_.end(), order_source);
    for (const int lane : order_) {
      lane_ = lane;
      f(lane);
    }
    lane_ = -1;
  }
  template <class T>
  struct Own {
    std::vector<T> values;
    T& operator[](int lane) { return values[static_cast<size_t>(lane)]; }
    const T& operator[](int lane) const { return values[static_cast<size_t>(lane)]; }
  };
  template <class T>
  Own<T> own() const {
    return {std::vector<T>(order_.size())};
  }
  void fetch(Real* to, const Real* from) { queue().open.emplace_back(to, from); }
  void commit() { queue().groups.push_back(std::exchange(queue().open, {})); }
  template <int N>
  void wait() {
    if (lane_ >= 0) return arrive(queue(), N);
    for (Queue& queue : fetched_) arrive(queue, N);
  }

 private:
  using Group = std::vector<std::pair<Real*, const Real*>>;
  struct Queue {
    Group open;
    std::deque<Group> groups;
  };
  Queue& queue() { return fetched_[static_cast<size_t>(lane_)]; }
  static void arrive(Queue& queue, size_t left) {
    for (; queue.groups.size() > left; queue.groups.pop_front()) {
      for (const auto& [to, from] : queue.groups.front()) *to = *from;
    }
  }
  std::vector<int> order_;
  std::vector<Queue> fetched_;
  int lane_ = -1;
};

template <class Real>
std::vector<Real> unwritten(int64_t reals) {
  return std::vector<Real>(static_cast<size_t>(reals) + 8, std::numeric_limits<Real>::quiet_NaN());
}
template <class Real>
Real* aligned(std::vector<Real>& memory) {
  return reinterpret_cast<Real*>((reinterpret_cast<uintptr_t>(memory.data()) + 31) / 32 * 32);
}

template <class Real, class Run>
void by_heads(int64_t heads, const Run& run) {
  if (sizeof(Real) == 8 || heads > 32)
    run(Constant<0>());
  else if (heads <= 4)
    run(Constant<4>());
  else if (heads <= 12)
    run(Constant<12>());
  else
    run(Constant<32>());
}

template <int W, int Readers, class Arguments, class Scan>
void run_scan(const Arguments& a, const Scan& scan) {
  using Real = decltype(a.step + 0);
  const int heads = static_cast<int>(a.heads);
  auto lists = unwritten<Real>(list_size(heads));
  for (int i = 0; i < heads; ++i) list_neighbors(i, heads, a.step, a.coupling, a.weights, aligned(lists));
  by_heads<Real>(heads, [&](auto room) {
    using Team = GridTeam<Executor<Real>, Real, decltype(room)::value>;
    const int sequences = Team::sequences(heads);
    for (int64_t n = 0; n * sequences < a.batch; ++n) {
      Executor<Real> executor(Team::width(heads));
      auto shared = unwritten<Real>(Team::shared_size(heads, W, Readers) / static_cast<int64_t>(sizeof(Real)));
      Team team(executor, aligned(shared), aligned(lists), a.batch, heads, n);
      scan(team);
    }
  });
}

template <class Real>
void run(const LatticeForward<Real>& a) {
  run_scan<2, 1>(a, [&](auto& team) { lattice_forward(team, a); });
}

template <class Real>
void run(const LatticeBackward<Real>& a) {
  run_scan<4, 2>(a, [&](auto& team) { lattice_backward(team, a); });
  const int tiles = static_cast<int>((a.heads + side - 1) / side);
  for (int64_t part = 0; part < a.parts; ++part) {
    for (int tile = 0; tile < tiles * tiles; ++tile) {
      Executor<Real> executor(side * side);
      auto shared = unwritten<Real>(sines_shared_size<Real>);
      sum_sines(executor, aligned(shared), a, part, tile / tiles, tile % tiles);
    }
  }
}

template <class Arguments, class Causal, class All>
void run_field(const Arguments& a, const Causal& causal, const All& all) {
  using Real = decltype(a.dt + 0);
  const int64_t columns = a.batch * a.heads * a.oscillators;
  if (!a.causal) {
    for (int64_t block = 0; block * across < columns; ++block) {
      Executor<Real> executor(across * down);
      auto shared = unwritten<Real>(columns_shared_size<Real>);
      GridColumnTeam<Executor<Real>, Real> team(executor, aligned(shared), a, block);
      all(team);
    }
    return;
  }
  auto memory = unwritten<Real>(columns * a.iterations * MemoryLoop<Real>::lines);
  for (int64_t n = 0; n < columns; ++n) {
    Executor<Real> executor(1);
    using Column = FetchedColumn<Executor<Real>, Real>;
    auto shared = unwritten<Real>(Column::shared_size(1));
    executor.each([&](int lane) {
      Column column(executor, aligned(shared), lane, 1, a, n);
      if (a.iterations <= 4) {
        RegisterLoop<Real, 4> loop(a.iterations);
        causal(column, loop);
      } else {
        MemoryLoop<Real> loop(a.iterations, aligned(memory), n, columns);
        causal(column, loop);
      }
    });
  }
}

template <class Real>
void run(const MeanFieldForward<Real>& a) {
  run_field(
      a, [&](auto& column, auto& loop) { causal_forward(column, loop, a); }, [&](auto& team) { all_forward(team, a); });
}
template <class Real>
void run(const MeanFieldBackward<Real>& a) {
  run_field(
      a, [&](auto& column, auto& loop) { causal_backward(column, loop, a); },
      [&](auto& team) { all_backward(team, a); });
}

void forward_scan(Tensor drive, Tensor omega, Tensor coupling, Tensor weights, Tensor theta0, double step,
                  Tensor theta) {
  lot::lattice_forward(drive, omega, coupling, weights, theta0, step, theta, [](const auto& a) { run(a); });
}
void backward_scan(Tensor grad, Tensor theta, Tensor coupling, Tensor weights, Tensor theta0, double step, Tensor pull,
                   Tensor grad_omega, Tensor grad_theta0, Tensor sines) {
  lot::lattice_backward(grad, theta, coupling, weights, theta0, step, pull, grad_omega, grad_theta0, sines,
                        [](const auto& a) { run(a); });
}
void forward_field(Tensor theta0, Tensor omega, Tensor coupling, double dt, int64_t iterations, bool causal,
                   Tensor theta, Tensor sums) {
  mean_field_forward(theta0, omega, coupling, dt, iterations, causal, theta, sums, [](const auto& a) { run(a); });
}
void backward_field(Tensor grad, Tensor theta0, Tensor omega, Tensor coupling, Tensor sums, double dt,
                    int64_t iterations, bool causal, Tensor grad_theta0, Tensor grad_omega, Tensor grad_coupling,
                    Tensor trace) {
  mean_field_backward(grad, theta0, omega, coupling, sums, dt, iterations, causal, grad_theta0, grad_omega,
                      grad_coupling, trace, [](const auto& a) { run(a); });
}

// The order of the lanes: by number (seed < 0), or another one after every barrier.
int64_t shuffle(int64_t seed) {
  shuffled = seed >= 0;
  order_source.seed(static_cast<std::mt19937::result_type>(seed));
  return seed;
}

}  // namespace
}  // namespace LOT_TARGET
}  // namespace lot

STABLE_TORCH_LIBRARY(lot_lattice_emulated, m) {
  lot::define(m);
  m.def("shuffle(int seed) -> int");
}
STABLE_TORCH_LIBRARY_IMPL(lot_lattice_emulated, CPU, m) {
  m.impl("lattice_forward", TORCH_BOX(&lot::LOT_TARGET::forward_scan));
  m.impl("lattice_backward", TORCH_BOX(&lot::LOT_TARGET::backward_scan));
  m.impl("mean_field_forward", TORCH_BOX(&lot::LOT_TARGET::forward_field));
  m.impl("mean_field_backward", TORCH_BOX(&lot::LOT_TARGET::backward_field));
}
STABLE_TORCH_LIBRARY_IMPL(lot_lattice_emulated, CompositeExplicitAutograd, m) {
  m.impl("shuffle", TORCH_BOX(&lot::LOT_TARGET::shuffle));
}
