// The lattice scan on the device: a lane is a head, a team is a warp (up to 32 heads; several sequences where they fit)
// or a block (more heads, or float64).
//
// What executes the lanes is a parameter: the device itself, or a loop over the lanes on the host, in any order, which
// runs this very code without a device and finds every place where a barrier is missing. An executor has
//
//   lanes(f)       f(lane) for all lanes, then a barrier
//   each(f)        f(lane) for all lanes, no barrier: a lane may touch only what is its own
//   own<T>()       an Own<T>: a T for each lane
//   fetch(to, from), commit(), wait<N>()   copies that run ahead; wait leaves at most the N last commits under way
#pragma once

#include "arguments.h"
#include "lattice_scan.h"
#include "running_sum.h"

namespace lot {
namespace LOT_TARGET {

constexpr int most_heads = 256;

// One entry of a head's neighbor list, and where head i's k-th entry and the number of its entries lie.
template <class Real>
struct alignas(4 * sizeof(Real)) Neighbor {
  Real in, out, head, unused;
};

// Lists of neighbors for teams whose rows do not fit into registers: (H, H) entries, then H counts. Lane i makes list
// i.
template <class Real>
LOT_FN void list_neighbors(int i, int heads, Real step, const Real* coupling, const Real* weights, Real* lists) {
  auto* list = reinterpret_cast<Neighbor<Real>*>(lists);
  int count = 0;
  for (int j = 0; j < heads; ++j) {
    const Real in = weights[i * heads + j], out = weights[j * heads + i];
    const bool none = (in == 0 && out == 0) || (i == j && in - in == 0);  // sin(theta_i - theta_i) = 0
    if (!none)
      list[count++ * heads + i] = {step * coupling[i] * in, step * coupling[j] * out, static_cast<Real>(j), Real(0)};
  }
  lists[4 * heads * heads + i] = static_cast<Real>(count);
}
inline int64_t list_size(int64_t heads) { return (4 * heads + 1) * heads; }

// Heads: room in registers for that many neighbors, or 0: lists.
template <class Executor, class Real_, int Heads>
class GridTeam {
  // Where a lane sits: its head, its sequence, and the place in `waves` where that sequence begins.
  struct Seat {
    int head, first;
    int64_t sequence;
    bool active;
  };

 public:
  using Real = Real_;
  using Value = Real_;
  static constexpr int ring = Heads > 0 ? 16 : 8;  // steps on their way or in use, a power of two

  // Lanes of a team, sequences of a team, and the shared memory that waves of W numbers and `readers` rings need.
  LOT_BOTH static int width(int heads) { return Heads > 0 ? 32 : (heads + 31) / 32 * 32; }
  LOT_BOTH static int sequences(int heads) { return Heads > 0 ? 32 / heads : 1; }
  LOT_BOTH static int places(int heads) { return Heads > 0 ? (sequences(heads) + 1) * Heads : width(heads); }
  LOT_BOTH static int64_t shared_size(int heads, int W, int readers) {
    return static_cast<int64_t>(sizeof(Real)) * (2 * W * places(heads) + readers * ring * width(heads));
  }

  LOT_FN GridTeam(Executor& executor, Real* shared, const Real* lists, int64_t batch, int heads, int64_t team)
      : executor_(executor), shared_(shared), lists_(lists), heads_(heads), seat_(executor.template own<Seat>()) {
    executor_.each([&](int lane) {
      Seat& seat = seat_[lane];
      if constexpr (Heads > 0) {
        const int slot = lane / heads,
                  slots = sequences(heads);  // lanes that are left over get the slot behind the last
        seat.head = lane - slot * heads;
        seat.first = slot * Heads;
        seat.sequence = team * slots + slot;
        seat.active = slot < slots && seat.sequence < batch;
      } else {
        seat.head = lane;
        seat.first = 0;
        seat.sequence = team;
        seat.active = lane < heads;
      }
    });
  }

  template <class F>
  LOT_FN void lanes(F&& f) {
    executor_.lanes(static_cast<F&&>(f));
  }
  template <class T>
  LOT_FN auto own() {
    return executor_.template own<T>();
  }
  LOT_FN int chunk(int steps) const { return steps; }

  template <int W>
  struct alignas(W * sizeof(Real)) Wave {
    Real number[W];
  };
  template <int W>
  class Waves {
   public:
    LOT_FN explicit Waves(GridTeam& team)
        : team_(team), places_(places(team.heads_)), memory_(reinterpret_cast<Wave<W>*>(team.shared_)) {
      team.shared_ += 2 * W * places_;
      const int step = width(team.heads_);
      team.executor_.lanes([&](int lane) {  // a place that no head fills counts as a neighbor of weight 0
        for (int place = lane; place < 2 * places_; place += step) memory_[place] = Wave<W>();
      });
    }
    template <class... Values>
    LOT_FN void put(int generation, int lane, Values... values) {
      const Seat& seat = team_.seat_[lane];
      memory_[generation * places_ + seat.first + seat.head] = Wave<W>{{values...}};
    }
    LOT_FN const Wave<W>* of(int generation, int first) const { return memory_ + generation * places_ + first; }

   private:
    GridTeam& team_;
    int places_;
    Wave<W>* memory_;
  };
  template <int W>
  LOT_FN Waves<W> waves() {
    return Waves<W>(*this);
  }

  template <int W>
  struct Row {
    static constexpr int room = Heads > 0 ? Heads : 1;
    Real in[room], out[W == 4 ? room : 1];
    const Neighbor<Real>* list;
    int first, count, heads;

    LOT_FN Felt<Real> feel(const Waves<W>& waves, int generation, int) const {
      const Wave<W>* wave = waves.of(generation, first);
      Real sum[4][2] = {};
      if constexpr (Heads > 0) {
        LOT_UNROLL
        for (int j = 0; j < room; ++j) {
          const Wave<W> of_j = wave[j];
          add(sum, j & 1, of_j, in[j], W == 4 ? out[j] : Real(0));
        }
      } else {
        for (int k = 0; k < count; k += 2) {
          LOT_UNROLL
          for (int chain = 0; chain < 2; ++chain) {
            if (k + chain == count) continue;
            const Neighbor<Real> j = list[(k + chain) * heads];
            add(sum, chain, wave[static_cast<int>(j.head)], j.in, j.out);
          }
        }
      }
      return {sum[0][0] + sum[0][1], sum[1][0] + sum[1][1], sum[2][0] + sum[2][1], sum[3][0] + sum[3][1]};
    }
    LOT_FN static void add(Real (&sum)[4][2], int chain, const Wave<W>& wave, Real in, Real out) {
      sum[0][chain] += in * wave.number[0];
      sum[1][chain] += in * wave.number[1];
      if constexpr (W == 4) {
        sum[2][chain] += out * wave.number[2];
        sum[3][chain] += out * wave.number[3];
      }
    }
  };
  template <int W>
  LOT_FN Row<W> row(Real step, const Real* coupling, const Real* weights, int lane) const {
    const Seat& seat = seat_[lane];
    Row<W> row;
    row.first = seat.first;
    row.heads = heads_;
    if constexpr (Heads > 0) {
      const int i = seat.head;
      LOT_UNROLL
      for (int j = 0; j < Heads; ++j) {
        const Real in = j < heads_ ? weights[i * heads_ + j] : Real(0);
        const bool none = j >= heads_ || (i == j && in - in == 0);  // sin(theta_i - theta_i) = 0
        row.in[j] = none ? Real(0) : step * coupling[i] * in;
        if constexpr (W == 4) row.out[j] = none ? Real(0) : step * coupling[j] * weights[j * heads_ + i];
      }
    } else {
      row.list = reinterpret_cast<const Neighbor<Real>*>(lists_) + seat.head;
      row.count = seat.active ? static_cast<int>(lists_[4 * heads_ * heads_ + seat.head]) : 0;
    }
    return row;
  }

  LOT_FN Real of_head(const Real* data, int64_t batch_stride, int lane) const {
    const Seat& seat = seat_[lane];
    return seat.active ? data[seat.sequence * batch_stride + seat.head] : Real(0);
  }
  LOT_FN void set_head(Real* data, int lane, Real value) const {
    const Seat& seat = seat_[lane];
    if (seat.active) data[seat.sequence * heads_ + seat.head] = value;
  }

  // Numbers of a lane in order of the steps, fetched `ring` steps ahead: each is asked for once, at its turn. With a
  // start they are those of step t - 2.
  template <bool Started>
  class Reader {
   public:
    LOT_FN Reader(GridTeam& team, const Real* data, Place at, const Real* start, int64_t start_batch)
        : team_(team),
          memory_(team.shared_),
          data_(data),
          start_(start),
          at_(at),
          next_(team.template own<int64_t>()),
          before_(team.template own<int64_t>()) {
      const int step = width(team.heads_);
      team.shared_ += ring * step;
      team.executor_.each([&](int lane) {
        for (int slot = 0; slot < ring; ++slot) memory_[slot * step + lane] = 0;
        const Seat& seat = team.seat_[lane];
        before_[lane] = seat.sequence * start_batch + seat.head;
      });
    }
    LOT_FN void rise(int first, int last) { begin(first, last, 1); }
    LOT_FN void fall(int first, int last) { begin(first, last, -1); }
    LOT_FN Real get(int t, int lane) {
      team_.executor_.template wait<ring - 2>();
      ahead(t + direction_ * (ring - 1), lane);  // into the slot of the step before
      return memory_[(t & (ring - 1)) * width(team_.heads_) + lane];
    }
    LOT_FN Real at(int t, int lane) const {  // the phase before step t
      if (!team_.seat_[lane].active) return Real(0);
      return Started && t < 1 ? start_[before_[lane]] : data_[place(t + 1, lane)];
    }

   private:
    LOT_FN void begin(int first, int last, int direction) {
      first_ = first;
      last_ = last;
      direction_ = direction;
      team_.executor_.each([&](int lane) {
        const int now = direction > 0 ? first : last - 1;
        next_[lane] = place(now, lane);
        for (int n = 0; n < ring - 1; ++n) ahead(now + direction * n, lane);
      });
      team_.executor_.template wait<0>();
    }
    LOT_FN int64_t place(int t, int lane) const {
      const Seat& seat = team_.seat_[lane];
      return seat.sequence * at_.batch + seat.head * at_.head + (Started ? t - 2 : t) * at_.time;
    }
    // Steps follow each other, so that no place needs a multiplication: an address is made while others wait for it.
    LOT_FN void ahead(int t, int lane) {
      if (t >= first_ && t < last_ && team_.seat_[lane].active) {
        const Real* from = Started && t < 2 ? start_ + before_[lane] : data_ + next_[lane];
        team_.executor_.fetch(memory_ + (t & (ring - 1)) * width(team_.heads_) + lane, from);
      }
      team_.executor_.commit();
      next_[lane] += direction_ * at_.time;
    }
    GridTeam& team_;
    Real* memory_;
    const Real *data_, *start_;
    Place at_;
    typename Executor::template Own<int64_t> next_, before_;  // where the next step lies, and the start
    int first_ = 0, last_ = 0, direction_ = 1;
  };
  LOT_FN Reader<false> reader(const Real* data, Place at) { return Reader<false>(*this, data, at, nullptr, 0); }
  LOT_FN Reader<true> history(const Real* data, Place at, const Real* start, int64_t start_batch) {
    return Reader<true>(*this, data, at, start, start_batch);
  }

  class Writer {
   public:
    LOT_FN Writer(GridTeam& team, Real* data, Place at) : team_(team), data_(data), at_(at) {}
    LOT_FN void put(int64_t t, int lane, Real value) const {
      const Seat& seat = team_.seat_[lane];
      if (seat.active) data_[seat.sequence * at_.batch + seat.head * at_.head + t * at_.time] = value;
    }
    LOT_FN void flush(int64_t, int64_t) const {}

   private:
    GridTeam& team_;
    Real* data_;
    Place at_;
  };
  LOT_FN Writer writer(Real* data, Place at) { return Writer(*this, data, at); }

  // Sums over all steps are left to a kernel of their own, which can spread them over the device.
  struct Sines {
    LOT_FN void record(int64_t, int, Real, Real, Real, Real) const {}
    LOT_FN void absorb(int64_t, int64_t) const {}
    LOT_FN void finish(Real) const {}
  };
  LOT_FN Sines sines(Real*) const { return {}; }

 private:
  Executor& executor_;
  Real* shared_;
  const Real* lists_;
  int heads_;
  typename Executor::template Own<Seat> seat_;
};

// Blocks of `side` x `side` lanes, each of a pair of heads, sum pull_i(t) sin(theta_j(t-1) - theta_i(t-1)) over their
// part of all steps of all sequences.
constexpr int side = 16, depth = 32;
template <class Real>
constexpr int64_t sines_shared_size = 4 * side * depth * static_cast<int64_t>(sizeof(Real));

template <class Executor, class Real>
LOT_FN void sum_sines(Executor& executor, Real* shared, const LatticeBackward<Real>& a, int64_t part, int tile_i,
                      int tile_j) {
  const int64_t rows = a.batch * a.steps, length = (rows + a.parts - 1) / a.parts;
  const int64_t first = part * length, last = smaller(first + length, rows);
  Real *sine = shared, *cosine = sine + side * depth, *by_sine = cosine + side * depth,
       *by_cosine = by_sine + side * depth;
  auto sum = executor.template own<RunningSum<Real>>();
  executor.each([&](int lane) { sum[lane].clear(); });
  const auto waves = [&](int64_t b, int64_t t, int head, Real& s, Real& c) {
    sincos(t > 0 ? a.theta[b * a.theta_at.batch + head * a.theta_at.head + (t - 1) * a.theta_at.time]
                 : a.theta0[b * a.theta0_batch + head],
           s, c);
  };
  for (int64_t row0 = first; row0 < last; row0 += depth) {
    executor.lanes([&](int lane) {
      for (int n = lane; n < side * depth; n += side * side) {
        const int64_t row = row0 + n / side, b = row / a.steps, t = row - b * a.steps;
        const int i = tile_i * side + n % side, j = tile_j * side + n % side;
        Real s = 0, c = 0, pull = 0, s_i = 0, c_i = 0;
        if (row < last && j < a.heads) waves(b, t, j, s, c);
        if (row < last && i < a.heads) {
          waves(b, t, i, s_i, c_i);
          pull = a.pull[b * a.pull_at.batch + i * a.pull_at.head + t * a.pull_at.time];
        }
        sine[n] = s;
        cosine[n] = c;
        by_sine[n] = pull * s_i;
        by_cosine[n] = pull * c_i;
      }
    });
    executor.lanes([&](int lane) {
      const int i = lane / side, j = lane % side;
      Real total = 0;
      for (int n = 0; n < depth; ++n) {
        total += by_cosine[n * side + i] * sine[n * side + j] - by_sine[n * side + i] * cosine[n * side + j];
      }
      sum[lane].add(total);
      if ((row0 - first) / depth % fold_every == fold_every - 1) sum[lane].fold();
    });
  }
  executor.each([&](int lane) {
    const int i = tile_i * side + lane / side, j = tile_j * side + lane % side;
    const Real total = sum[lane].total();
    if (i < a.heads && j < a.heads)
      a.sines[(part * a.heads + i) * a.heads + j] = i == j && total - total == 0 ? Real(0) : total;
  });
}

}  // namespace LOT_TARGET
}  // namespace lot
