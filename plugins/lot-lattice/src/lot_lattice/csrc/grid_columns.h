// The mean field on the device: a lane is a column (b, h, o); in the all-token form, a slice of the tokens of one.
#pragma once

#include "arguments.h"
#include "mean_field.h"

namespace lot {
namespace LOT_TARGET {

// Values for the K iterations in registers, K at most `Most`; every index is known to the compiler.
template <class Real, int Most>
class RegisterLoop {
 public:
  template <class T>
  struct Line {
    T value[Most];
    LOT_FN T& operator[](int k) { return value[k]; }
  };
  LOT_FN explicit RegisterLoop(int iterations) : iterations_(iterations) {}
  template <class T>
  LOT_FN Line<T> line() {
    return Line<T>();
  }
  template <class F>
  LOT_FN void up(F&& f) const {
    LOT_UNROLL
    for (int k = 0; k < Most; ++k) {
      if (k >= iterations_) break;
      f(k);
    }
  }
  template <class F>
  LOT_FN void down(F&& f) const {
    LOT_UNROLL
    for (int k = Most - 1; k >= 0; --k) {
      if (k < iterations_) f(k);
    }
  }

 private:
  int iterations_;
};

// The same in memory, for any K: `lines` of numbers for each iteration and column, those of neighboring columns side
// by side.
template <class Real>
class MemoryLoop {
 public:
  static constexpr int64_t lines = 10;  // what causal_backward asks for: 6 numbers and 2 running sums of 2 numbers
  template <class T>
  struct Line {
    T* value;
    int64_t columns;
    LOT_FN T& operator[](int k) const { return value[k * columns]; }
  };
  LOT_FN MemoryLoop(int iterations, Real* memory, int64_t column, int64_t columns)
      : iterations_(iterations), memory_(memory), column_(column), columns_(columns) {}
  template <class T>
  LOT_FN Line<T> line() {
    Line<T> line{reinterpret_cast<T*>(memory_) + column_, columns_};
    memory_ += iterations_ * columns_ * static_cast<int64_t>(sizeof(T) / sizeof(Real));
    return line;
  }
  template <class F>
  LOT_FN void up(F&& f) const {
    for (int k = 0; k < iterations_; ++k) f(k);
  }
  template <class F>
  LOT_FN void down(F&& f) const {
    for (int k = iterations_ - 1; k >= 0; --k) f(k);
  }

 private:
  int iterations_;
  Real* memory_;
  int64_t column_, columns_;
};

template <class Real_>
class GridColumn {
 public:
  using Real = Real_;
  using Value = Real_;

  // A column beyond the last one repeats it and writes nothing.
  LOT_FN GridColumn() {}
  LOT_FN GridColumn(const MeanFieldForward<Real>& a, int64_t column) : GridColumn(a, column, 0) {
    out_ = a.theta + offset(a.theta_at);
    out_time_ = a.theta_at.time;
    segments_ = a.segments;
    sums_ = a.sums + saved_offset(a);
  }
  LOT_FN GridColumn(const MeanFieldBackward<Real>& a, int64_t column) : GridColumn(a, column, 0) {
    grad_ = a.grad + offset(a.grad_at);
    grad_time_ = a.grad_at.time;
    out_ = a.grad_theta0 + offset(a.grad_theta0_at);
    out_time_ = a.grad_theta0_at.time;
    segments_ = a.causal ? a.segments : 1;
    sums_ = const_cast<Real*>(a.sums) + saved_offset(a);
    per_column_ = (batch_ * a.heads + head_) * a.oscillators + oscillator_;
    grad_omega_ = a.grad_omega;
    grad_coupling_ = a.grad_coupling;
    trace_ = a.trace + (batch_ * a.heads + head_) * a.steps * a.oscillators + oscillator_;
    trace_level_ = a.batch * a.heads * a.steps * a.oscillators;
  }
  LOT_FN GridColumn silent() const {
    GridColumn copy = *this;
    copy.active_ = false;
    return copy;
  }
  LOT_FN void sums_by(bool one) { saves_ = saves_ && one; }

  LOT_FN Real turn() const { return turn_; }
  LOT_FN Real strength() const { return strength_; }
  LOT_FN Real start(int64_t t) const { return start_[t * start_time_]; }
  LOT_FN Real now(int64_t t) const { return out_[t * out_time_]; }
  LOT_FN void put(int64_t t, Real theta) const {
    if (active_) out_[t * out_time_] = theta;
  }
  LOT_FN void back() const {}
  LOT_FN Real grad(int64_t t) const { return grad_[t * grad_time_]; }
  LOT_FN Real reached(int64_t t) const { return out_[t * out_time_]; }
  LOT_FN void set_grad(int64_t t, Real lambda) const { put(t, lambda); }
  LOT_FN Real traced(int level, int64_t t) const { return trace_[level * trace_level_ + t * oscillators_]; }
  LOT_FN void trace(int level, int64_t t, Real theta) const {
    if (active_) trace_[level * trace_level_ + t * oscillators_] = theta;
  }
  LOT_FN void save(int64_t segment, int k, Real sine, Real cosine) const {
    if (!active_ || !saves_) return;
    Real* to = sums_ + (segment * iterations_ + k) * 2 * oscillators_;
    to[0] = sine;
    to[oscillators_] = cosine;
  }
  LOT_FN void saved(int64_t segment, int k, Real& sine, Real& cosine) const {
    const Real* from = sums_ + (segment * iterations_ + k) * 2 * oscillators_;
    sine = from[0];
    cosine = from[oscillators_];
  }
  LOT_FN void finish(Real omega, Real coupling) const {
    if (!active_) return;
    grad_omega_[per_column_] = omega;
    grad_coupling_[per_column_] = coupling;
  }

 private:
  template <class Arguments>
  LOT_FN GridColumn(const Arguments& a, int64_t column, int) {
    const int64_t columns = a.batch * a.heads * a.oscillators;
    active_ = column < columns;
    saves_ = true;
    column = smaller(column, columns - 1);
    oscillators_ = a.oscillators;
    iterations_ = a.iterations;
    oscillator_ = column % a.oscillators;
    head_ = column / a.oscillators % a.heads;
    batch_ = column / a.oscillators / a.heads;
    start_ = a.theta0 + offset(a.theta0_at);
    start_time_ = a.theta0_at.time;
    turn_ = a.dt * a.omega[batch_ * a.omega_batch + head_ * a.oscillators + oscillator_];
    strength_ = a.dt * a.coupling[head_];
  }
  LOT_FN int64_t offset(Place at) const { return batch_ * at.batch + head_ * at.head + oscillator_; }
  template <class Arguments>
  LOT_FN int64_t saved_offset(const Arguments& a) const {
    return (batch_ * a.heads + head_) * segments_ * a.iterations * 2 * a.oscillators + oscillator_;
  }

 protected:
  const Real *start_, *grad_;
  int64_t start_time_, grad_time_;

 private:
  Real *out_, *sums_, *trace_, *grad_omega_, *grad_coupling_;
  int64_t out_time_, oscillators_, segments_, trace_level_, per_column_;
  int64_t batch_, head_, oscillator_;
  int iterations_;
  bool active_, saves_;
  Real turn_, strength_;
};

// A column whose numbers are fetched ahead of the sweep, as long as one token takes less time than memory needs.
template <class Executor, class Real_>
class FetchedColumn : public GridColumn<Real_> {
 public:
  using Real = Real_;
  static constexpr int ring = 16;  // tokens on their way or in use, a power of two
  static constexpr int64_t shared_size(int lanes) { return 2 * ring * lanes * static_cast<int64_t>(sizeof(Real)); }

  template <class Arguments>
  LOT_FN FetchedColumn(Executor& executor, Real* shared, int lane, int lanes, const Arguments& a, int64_t column)
      : GridColumn<Real>(a, column), executor_(executor), memory_(shared + lane), lanes_(lanes), steps_(a.steps) {
    for (int64_t t = 0; t < ring - 1; ++t) ahead(0, this->start_, this->start_time_, t);
    executor_.template wait<0>();
  }
  LOT_FN Real start(int64_t t) const { return take(0, this->start_, this->start_time_, t); }
  LOT_FN Real grad(int64_t t) const { return take(1, this->grad_, this->grad_time_, t); }
  LOT_FN void back() {
    direction_ = -1;
    for (int64_t t = steps_ - 1; t > steps_ - ring; --t) {
      ahead(0, this->start_, this->start_time_, t);
      ahead(1, this->grad_, this->grad_time_, t);
    }
    executor_.template wait<0>();
  }

 private:
  LOT_FN Real* slot(int which, int64_t t) const { return memory_ + (which * ring + (t & (ring - 1))) * lanes_; }
  LOT_FN Real take(int which, const Real* data, int64_t time, int64_t t) const {
    executor_.template wait<ring - 2>();
    ahead(which, data, time, t + direction_ * (ring - 1));  // into the slot of the token before
    return *slot(which, t);
  }
  LOT_FN void ahead(int which, const Real* data, int64_t time, int64_t t) const {
    if (t >= 0 && t < steps_) executor_.fetch(slot(which, t), data + t * time);
    executor_.commit();
  }
  Executor& executor_;
  Real* memory_;
  int lanes_, direction_ = 1;
  int64_t steps_;
};

// The all-token form: `across` columns side by side, each in `down` slices of the tokens.
constexpr int across = 32, down = 8;
template <class Real>
constexpr int64_t columns_shared_size = 2 * 2 * down * across * static_cast<int64_t>(sizeof(Real));

template <class Executor, class Real_>
class GridColumnTeam {
 public:
  using Real = Real_;
  using Value = Real_;
  template <class Arguments>
  LOT_FN GridColumnTeam(Executor& executor, Real* shared, const Arguments& a, int64_t block)
      : executor_(executor), exchange_(shared), columns_(executor.template own<GridColumn<Real>>()) {
    executor_.each([&](int lane) {
      columns_[lane] = GridColumn<Real>(a, block * across + lane % across);
      columns_[lane].sums_by(slice(lane) == 0);
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
  LOT_FN GridColumn<Real>& column(int lane) { return columns_[lane]; }
  LOT_FN int64_t slice(int lane) const { return lane / across; }
  LOT_FN int64_t slices() const { return down; }
  LOT_FN void meet(int round, int lane, Real a, Real b) {
    place(round, 0, lane / across)[lane % across] = a;
    place(round, 1, lane / across)[lane % across] = b;
  }
  LOT_FN Real met(int round, int lane, int which) const {
    Real sum = 0;
    for (int slice = 0; slice < down; ++slice) sum += place(round, which, slice)[lane % across];
    return sum;
  }

 private:
  LOT_FN Real* place(int round, int which, int slice) const {
    return exchange_ + (((round & 1) * 2 + which) * down + slice) * across;
  }
  Executor& executor_;
  Real* exchange_;
  typename Executor::template Own<GridColumn<Real>> columns_;
};

}  // namespace LOT_TARGET
}  // namespace lot
