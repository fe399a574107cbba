// Columns (b, h, o) of the mean field in the registers of the host, and memory for the K iterations.
#pragma once

#include "host_memory.h"
#include "mean_field.h"

namespace lot {
namespace LOT_TARGET {

// The steps of an iteration for a pack, one register after the other: what a register needs then stays in registers, and
// the processor reaches ahead to the next while it waits for one.
template <class Real, int P>
LOT_FN Pack<Real, 1> at(const Pack<Real, P>& x, int p) {
  Pack<Real, 1> out;
  out.part[0] = x.part[p];
  return out;
}
template <class Real, int P>
LOT_FN void set(Pack<Real, P>& x, int p, const Pack<Real, 1>& value) {
  x.part[p] = value.part[0];
}
template <class Real, int P>
LOT_FN void advance(Pack<Real, P>& theta, Pack<Real, P>& s, Pack<Real, P>& c, RunningSum<Pack<Real, P>>& sine,
                    RunningSum<Pack<Real, P>>& cosine, const Pack<Real, P>& turn, const Pack<Real, P>& rate) {
  LOT_UNROLL
  for (int p = 0; p < P; ++p) {
    Pack<Real, 1> angle = at(theta, p), a, b;
    sincos(angle, a, b);
    const Pack<Real, 1> S = at(sine.recent, p) + a, C = at(cosine.recent, p) + b;
    set(s, p, a), set(c, p, b), set(sine.recent, p, S), set(cosine.recent, p, C);
    set(theta, p, moved(angle, a, b, at(sine.base, p) + S, at(cosine.base, p) + C, at(turn, p), at(rate, p)));
  }
}
template <class Real, int P>
LOT_FN void repeat(Pack<Real, P>& theta, Pack<Real, P>& s, Pack<Real, P>& c, const Pack<Real, P>& S,
                   const Pack<Real, P>& C, const Pack<Real, P>& turn, const Pack<Real, P>& rate) {
  LOT_UNROLL
  for (int p = 0; p < P; ++p) {
    Pack<Real, 1> angle = at(theta, p), a, b;
    repeat<Pack<Real, 1>>(angle, a, b, at(S, p), at(C, p), at(turn, p), at(rate, p));
    set(theta, p, angle), set(s, p, a), set(c, p, b);
  }
}
template <class Real, int P>
LOT_FN void retreat(Pack<Real, P>& lambda, Pack<Real, P>& turned, Pack<Real, P>& pulled, Pack<Real, P>& A,
                    Pack<Real, P>& B, const Pack<Real, P>& s, const Pack<Real, P>& c, const Pack<Real, P>& S,
                    const Pack<Real, P>& C, const Pack<Real, P>& rate) {
  LOT_UNROLL
  for (int p = 0; p < P; ++p) {
    Pack<Real, 1> l = at(lambda, p), t = at(turned, p), u = at(pulled, p), a = at(A, p), b = at(B, p);
    retreat<Pack<Real, 1>>(l, t, u, a, b, at(s, p), at(c, p), at(S, p), at(C, p), at(rate, p));
    set(lambda, p, l), set(turned, p, t), set(pulled, p, u), set(A, p, a), set(B, p, b);
  }
}

// P registers of columns; each register lies within one (b, h) and may be filled in part.
template <class Real_, int P>
class HostColumns {
 public:
  using Real = Real_;
  using Value = Pack<Real, P>;
  static constexpr int width = Value::width;

  // Registers that the columns fill.
  static int64_t count(int64_t batch, int64_t heads, int64_t oscillators) {
    return batch * heads * ((oscillators + width - 1) / width);
  }

  HostColumns(const MeanFieldForward<Real>& a, int64_t first)
      : HostColumns(a.batch, a.heads, a.oscillators, a.iterations, a.dt, first) {
    common(a);
    out_ = place(a.theta, a.theta_at);
    sums_ = a.sums;
    segments_ = a.segments;
  }
  HostColumns(const MeanFieldBackward<Real>& a, int64_t first)
      : HostColumns(a.batch, a.heads, a.oscillators, a.iterations, a.dt, first) {
    common(a);
    grad_ = place(const_cast<Real*>(a.grad), a.grad_at);
    out_ = place(a.grad_theta0, a.grad_theta0_at);
    sums_ = const_cast<Real*>(a.sums);
    segments_ = a.causal ? a.segments : 1;
    grad_omega_ = a.grad_omega;
    grad_coupling_ = a.grad_coupling;
    const Place dense{a.heads * a.steps * a.oscillators, a.steps * a.oscillators, a.oscillators};
    trace_ = place(a.trace, dense);
    trace_level_ = a.batch * dense.batch;
  }
  HostColumns silent() const {
    HostColumns copy = *this;
    copy.writes_ = false;
    return copy;
  }

  Value turn() const { return turn_; }
  Value strength() const { return strength_; }
  LOT_FN Value start(int64_t t) const { return load(start_, t); }
  LOT_FN Value now(int64_t t) const { return load(out_, t); }
  LOT_FN void put(int64_t t, const Value& theta) const {
    if (writes_) store(out_, t, theta);
  }
  void back() const {}
  LOT_FN Value grad(int64_t t) const { return load(grad_, t); }
  LOT_FN Value reached(int64_t t) const { return load(out_, t); }
  LOT_FN void set_grad(int64_t t, const Value& lambda) const { store(out_, t, lambda); }
  LOT_FN Value traced(int level, int64_t t) const { return load(trace_, t, level * trace_level_); }
  LOT_FN void trace(int level, int64_t t, const Value& theta) const { store(trace_, t, theta, level * trace_level_); }
  void save(int64_t segment, int k, const Value& sine, const Value& cosine) const {
    store(saved_at(segment, k), 0, sine);
    store(saved_at(segment, k), 0, cosine, oscillators_);
  }
  void saved(int64_t segment, int k, Value& sine, Value& cosine) const {
    sine = load(saved_at(segment, k), 0);
    cosine = load(saved_at(segment, k), 0, oscillators_);
  }
  void finish(const Value& omega, const Value& coupling) const {
    store(per_column(grad_omega_, heads_ * oscillators_), 0, omega);
    store(per_column(grad_coupling_, heads_ * oscillators_), 0, coupling);
  }

 private:
  struct Stream {
    Real* part[P];
    int64_t time;
  };

  HostColumns(int64_t batch, int64_t heads, int64_t oscillators, int iterations, Real dt, int64_t first)
      : heads_(heads), oscillators_(oscillators), iterations_(iterations), dt_(dt) {
    const int64_t per_head = (oscillators + width - 1) / width, total = count(batch, heads, oscillators);
    for (int p = 0; p < P; ++p) {
      const int64_t n = smaller(first + p, total - 1), row = n / per_head;
      batch_[p] = row / heads;
      head_[p] = row % heads;
      oscillator_[p] = n % per_head * width;
      filled_[p] = first + p < total ? static_cast<int>(smaller(width, oscillators - oscillator_[p])) : 0;
      whole_ = whole_ && filled_[p] == width;
    }
  }
  template <class Arguments>
  void common(const Arguments& a) {
    start_ = place(const_cast<Real*>(a.theta0), a.theta0_at);
    turn_ = load(per_column(const_cast<Real*>(a.omega), a.omega_batch), 0) * dt_;
    for (int p = 0; p < P; ++p) strength_.part[p] = Value(dt_ * a.coupling[head_[p]]).part[p];
  }
  Stream place(Real* data, Place at) const {
    Stream stream;
    stream.time = at.time;
    for (int p = 0; p < P; ++p) stream.part[p] = data + batch_[p] * at.batch + head_[p] * at.head + oscillator_[p];
    return stream;
  }
  Stream per_column(Real* data, int64_t batch_stride) const {
    return place(data, Place{batch_stride, oscillators_, 0});
  }
  Stream saved_at(int64_t segment, int k) const {
    const int64_t level = 2 * oscillators_, head = segments_ * iterations_ * level;
    return place(sums_ + (segment * iterations_ + k) * level, Place{heads_ * head, head, 0});
  }
  LOT_FN Value load(const Stream& stream, int64_t t, int64_t shift = 0) const {
    Value out;
    const int64_t at = t * stream.time + shift;
    if (__builtin_expect(whole_, 1)) {
      LOT_UNROLL
      for (int p = 0; p < P; ++p) std::memcpy(&out.part[p], stream.part[p] + at, sizeof out.part[p]);
    } else {
      Real numbers[P][width] = {};
      for (int p = 0; p < P; ++p)
        std::memcpy(numbers[p], stream.part[p] + at, static_cast<size_t>(filled_[p]) * sizeof(Real));
      out = Value::load(numbers[0]);
    }
    return out;
  }
  LOT_FN void store(const Stream& stream, int64_t t, const Value& value, int64_t shift = 0) const {
    const int64_t at = t * stream.time + shift;
    if (__builtin_expect(whole_, 1)) {
      LOT_UNROLL
      for (int p = 0; p < P; ++p) std::memcpy(stream.part[p] + at, &value.part[p], sizeof value.part[p]);
    } else {
      Real numbers[P][width];
      value.store(numbers[0]);
      for (int p = 0; p < P; ++p)
        std::memcpy(stream.part[p] + at, numbers[p], static_cast<size_t>(filled_[p]) * sizeof(Real));
    }
  }

  int64_t heads_, oscillators_;
  int iterations_;
  Real dt_;
  int64_t batch_[P], head_[P], oscillator_[P];
  int filled_[P];
  bool whole_ = true, writes_ = true;
  Value turn_, strength_;
  Stream start_, out_, grad_, trace_;
  int64_t trace_level_ = 0, segments_ = 0;
  Real* sums_ = nullptr;
  Real* grad_omega_ = nullptr;
  Real* grad_coupling_ = nullptr;
};

class HostLoop {
 public:
  HostLoop(Arena& arena, int iterations) : arena_(arena), iterations_(iterations) {}
  template <class T>
  T* line() {
    return arena_.take<T>(iterations_);
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
  Arena& arena_;
  int iterations_;
};

// Of a short sequence, of which no sums were kept, all iterations are made once more: their sines and cosines are written
// down, and the sums at the tokens from which the walk back begins anew.
template <class Column, class Real>
void recorded_backward(Column& column, Arena& arena, const MeanFieldBackward<Real>& a) {
  using V = typename Column::Value;
  struct Wave {
    V s, c;
  };
  const V turn = column.turn(), strength = column.strength();
  const int K = a.iterations;
  Wave *const record = arena.untouched<Wave>(a.steps * K), *const stops = arena.untouched<Wave>(3 * K);
  const auto sums_at = [&](int64_t end) { return stops + (end == a.steps ? 0 : end == 32 ? 1 : 2) * K; };
  RunningSum<V>*const sine = arena.take<RunningSum<V>>(K), *const cosine = arena.take<RunningSum<V>>(K);
  for (int64_t t = 0; t < a.steps; ++t) {
    V theta = column.start(t);
    const V rate = strength * (Real(1) / static_cast<Real>(t + 1));
    for (int k = 0; k < K; ++k) {
      Wave& wave = record[t * K + k];
      advance(theta, wave.s, wave.c, sine[k], cosine[k], turn, rate);
    }
    if (t % fold_every == fold_every - 1) {
      for (int k = 0; k < K; ++k) {
        sine[k].fold();
        cosine[k].fold();
      }
    }
    int64_t stop = a.steps;
    while (stop > t + 1) stop = earlier_stop(stop);
    if (stop == t + 1)
      for (int k = 0; k < K; ++k) sums_at(stop)[k] = {sine[k].total(), cosine[k].total()};
  }
  V *const A = arena.take<V>(K), *const B = arena.take<V>(K);
  RunningSum<V> omega, coupling;
  omega.clear();
  coupling.clear();
  for (int64_t end = a.steps, begin; end > 0; end = begin) {
    begin = earlier_stop(end);
    Wave* const sums = sums_at(end);
    for (int64_t t = end - 1; t >= begin; --t) {
      const Real share = Real(1) / static_cast<Real>(t + 1);
      const V rate = strength * share;
      V lambda = column.grad(t), turned = V(0), pulled = V(0);
      for (int k = K - 1; k >= 0; --k) {
        const Wave& wave = record[t * K + k];
        retreat(lambda, turned, pulled, A[k], B[k], wave.s, wave.c, sums[k].s, sums[k].c, rate);
        sums[k] = {sums[k].s - wave.s, sums[k].c - wave.c};
      }
      column.set_grad(t, lambda);
      omega.add(turned);
      coupling.add(pulled * share);
      if (t % fold_every == 0) {
        omega.fold();
        coupling.fold();
      }
    }
  }
  column.finish(omega.total() * a.dt, coupling.total() * a.dt);
}

// The all-token form on the host: one lane holds all tokens of its columns.
template <class Real_, int P>
class HostColumnTeam {
 public:
  using Real = Real_;
  using Value = Pack<Real, P>;
  explicit HostColumnTeam(const HostColumns<Real, P>& columns) : columns_(columns) {}
  template <class F>
  LOT_FN void lanes(F&& f) {
    f(0);
  }
  template <class T>
  struct One {
    T value;
    LOT_FN T& operator[](int) { return value; }
  };
  template <class T>
  One<T> own() {
    return One<T>();
  }
  HostColumns<Real, P>& column(int) { return columns_; }
  int64_t slice(int) const { return 0; }
  int64_t slices() const { return 1; }
  void meet(int round, int, const Value& a, const Value& b) {
    exchange_[round & 1][0] = a;
    exchange_[round & 1][1] = b;
  }
  Value met(int round, int, int which) const { return exchange_[round & 1][which]; }

 private:
  HostColumns<Real, P> columns_;
  Value exchange_[2][2];
};

}  // namespace LOT_TARGET
}  // namespace lot
