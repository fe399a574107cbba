// The mean field over tokens and its adjoint; every column (b, h, o) is a system of its own.
//
// Causal form: token t at iteration k needs the sums of sin and cos over the tokens up to t at iteration k and nothing
// else, so one pass over the tokens does all K iterations. The adjoint walks back: from the sums at the end of a
// segment it recomputes a token's K phases, takes the token out of the sums, and adds its share to the sums of the
// adjoints.
#pragma once

#include "arguments.h"
#include "running_sum.h"
#include "sincos.h"

namespace lot {
namespace LOT_TARGET {

// Tokens of a segment; the last one is shorter where `segments` does not divide the tokens.
LOT_FN int64_t segment_length(int64_t steps, int64_t segments) { return (steps + segments - 1) / segments; }

// An iteration moves a phase by the sums of sine S and cosine C over its tokens, and by its own turn.
template <class V>
LOT_FN V moved(const V& theta, const V& s, const V& c, const V& S, const V& C, const V& turn, const V& rate) {
  return ((theta + turn) + (rate * c) * S) - (rate * s) * C;
}

// The steps of one iteration of a token. `advance`: its sine and cosine join the sums before these move it.
template <class V>
LOT_FN void advance(V& theta, V& s, V& c, RunningSum<V>& sine, RunningSum<V>& cosine, const V& turn, const V& rate) {
  sincos(theta, s, c);
  sine.add(s);
  cosine.add(c);
  theta = moved(theta, s, c, sine.total(), cosine.total(), turn, rate);
}

// `repeat`: the sums are known.
template <class V>
LOT_FN void repeat(V& theta, V& s, V& c, const V& S, const V& C, const V& turn, const V& rate) {
  sincos(theta, s, c);
  theta = moved(theta, s, c, S, C, turn, rate);
}

// `retreat`: the adjoint lambda = dL/dtheta, from after the iteration to before it. With q = c S - s C and p = s S + c C:
// lambda <- lambda (1 - rate p) + c A - s B, where A and B sum lambda rate c and -lambda rate s over tokens from here
// on.
template <class V>
LOT_FN void retreat(V& lambda, V& turned, V& pulled, V& A, V& B, const V& s, const V& c, const V& S, const V& C,
                    const V& rate) {
  const V scaled = lambda * rate;
  turned = turned + lambda;
  pulled = pulled + lambda * (c * S - s * C);
  A = A + scaled * c;
  B = B - scaled * s;
  lambda = (lambda - scaled * (s * S + c * C)) + (c * A - s * B);
}

// `loop` runs over the K iterations and says where a value for each of them lies (registers, or memory for large K).
// Column: start(t), put(t, theta), turn() = dt omega, strength() = dt coupling, save(segment, k, s, c).
template <class Column, class Loop, class Sums>
LOT_FN void causal_sweep(Column& column, const Loop& loop, Sums& sine, Sums& cosine, int64_t steps, int64_t segments) {
  using V = typename Column::Value;
  using Real = typename Column::Real;
  const V turn = column.turn(), strength = column.strength();
  const int64_t length = segments > 0 ? segment_length(steps, segments) : steps + 1;
  int64_t segment = 0, end = smaller(length, steps);
  loop.up([&](int k) {
    sine[k].clear();
    cosine[k].clear();
  });
  LOT_NO_UNROLL
  for (int64_t t = 0; t < steps; ++t) {
    V theta = column.start(t);
    const V rate = strength * (Real(1) / static_cast<Real>(t + 1));
    loop.up([&](int k) {
      V s, c;
      advance(theta, s, c, sine[k], cosine[k], turn, rate);
    });
    column.put(t, theta);
    if (t % fold_every == fold_every - 1) {
      loop.up([&](int k) {
        sine[k].fold();
        cosine[k].fold();
      });
    }
    if (t + 1 == end && segments > 0) {
      loop.up([&](int k) { column.save(segment, k, sine[k].total(), cosine[k].total()); });
      ++segment;
      end = smaller(end + length, steps);
    }
  }
}

template <class Column, class Loop>
LOT_FN void causal_forward(Column& column, Loop& loop, const MeanFieldForward<typename Column::Real>& a) {
  using V = typename Column::Value;
  auto sine = loop.template line<RunningSum<V>>(), cosine = loop.template line<RunningSum<V>>();
  causal_sweep(column, loop, sine, cosine, a.steps, a.segments);
}

// The walk back sums up errors, and a token weighs them by 1 / n: the first tokens are walked from sums made anew.
LOT_FN int64_t earlier_stop(int64_t end) { return end > 32 ? 32 : end > 8 ? 8 : 0; }

template <class Column, class Loop>
LOT_FN void causal_backward(Column& column, Loop& loop, const MeanFieldBackward<typename Column::Real>& a) {
  using V = typename Column::Value;
  using Real = typename Column::Real;
  const V turn = column.turn(), strength = column.strength();
  auto sum_sine = loop.template line<V>(), sum_cosine = loop.template line<V>();
  auto sine_before = loop.template line<RunningSum<V>>(), cosine_before = loop.template line<RunningSum<V>>();
  auto s = loop.template line<V>(), c = loop.template line<V>();
  auto A = loop.template line<V>(), B = loop.template line<V>();
  RunningSum<V> omega, coupling;
  omega.clear();
  coupling.clear();
  loop.up([&](int k) { A[k] = B[k] = V(0); });

  const int64_t length = segment_length(a.steps, larger(a.segments, 1));
  column.back();
  LOT_NO_UNROLL
  for (int64_t end = a.steps, begin; end > 0; end = begin) {
    const int64_t segment = (end - 1) / length;
    begin = larger(segment * length, earlier_stop(end));
    if (a.segments > 0 && end == smaller((segment + 1) * length, a.steps)) {
      loop.up([&](int k) { column.saved(segment, k, sum_sine[k], sum_cosine[k]); });
    } else {
      auto silent = column.silent();
      causal_sweep(silent, loop, sine_before, cosine_before, end, 0);
      loop.up([&](int k) {
        sum_sine[k] = sine_before[k].total();
        sum_cosine[k] = cosine_before[k].total();
      });
    }
    LOT_NO_UNROLL
    for (int64_t t = end - 1; t >= begin; --t) {
      V theta = column.start(t);
      const Real share = Real(1) / static_cast<Real>(t + 1);
      const V rate = strength * share;
      loop.up([&](int k) {
        repeat(theta, s[k], c[k], sum_sine[k], sum_cosine[k], turn, rate);
      });
      V lambda = column.grad(t), turned = V(0), pulled = V(0);
      loop.down([&](int k) {
        retreat(lambda, turned, pulled, A[k], B[k], s[k], c[k], sum_sine[k], sum_cosine[k], rate);
        sum_sine[k] = sum_sine[k] - s[k];
        sum_cosine[k] = sum_cosine[k] - c[k];
      });
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

// All tokens feel all tokens. A team's lanes share one column, each holds every `slices`-th token; their sums meet in
// `exchange`. Before a lane changes a phase it has the sums over all tokens; so one barrier an iteration.
template <class Team>
LOT_FN void all_forward(Team& team, const MeanFieldForward<typename Team::Real>& a) {
  using V = typename Team::Value;
  using Real = typename Team::Real;
  for (int k = 0; k <= a.iterations; ++k) {
    team.lanes([&](int lane) {
      auto& column = team.column(lane);
      const V turn = column.turn(), rate = column.strength() * (Real(1) / static_cast<Real>(a.steps));
      const V S = k > 0 ? team.met(k - 1, lane, 0) : V(0), C = k > 0 ? team.met(k - 1, lane, 1) : V(0);
      RunningSum<V> sine, cosine;
      sine.clear();
      cosine.clear();
      int64_t seen = 0;
      for (int64_t t = team.slice(lane); t < a.steps; t += team.slices()) {
        V theta = k > 0 ? column.now(t) : column.start(t), s, c;
        if (k > 0) {
          sincos(theta, s, c);
          theta = ((theta + turn) + (rate * c) * S) - (rate * s) * C;
        }
        column.put(t, theta);
        if (k < a.iterations) {
          sincos(theta, s, c);
          sine.add(s);
          cosine.add(c);
          if (++seen % fold_every == 0) {
            sine.fold();
            cosine.fold();
          }
        }
      }
      team.meet(k, lane, sine.total(), cosine.total());
    });
  }
}

// First the phases before each iteration, kept in `trace`; then the iterations from last to first. A step back finishes
// iteration k + 1 for the lane's tokens and sums over them what iteration k hands to all.
template <class Team>
LOT_FN void all_backward(Team& team, const MeanFieldBackward<typename Team::Real>& a) {
  using V = typename Team::Value;
  using Real = typename Team::Real;
  const Real share = Real(1) / static_cast<Real>(a.steps);
  const int K = a.iterations;
  for (int k = 0; k < K; ++k) {
    team.lanes([&](int lane) {
      auto& column = team.column(lane);
      const V turn = column.turn(), rate = column.strength() * share;
      V S = V(0), C = V(0);
      if (k > 0) {
        S = team.met(k - 1, lane, 0);
        C = team.met(k - 1, lane, 1);
        column.save(0, k - 1, S, C);
      }
      RunningSum<V> sine, cosine;
      sine.clear();
      cosine.clear();
      int64_t seen = 0;
      for (int64_t t = team.slice(lane); t < a.steps; t += team.slices()) {
        V theta = k > 0 ? column.traced(k - 1, t) : column.start(t), s, c;
        if (k > 0) {
          sincos(theta, s, c);
          theta = ((theta + turn) + (rate * c) * S) - (rate * s) * C;
        }
        column.trace(k, t, theta);
        sincos(theta, s, c);
        sine.add(s);
        cosine.add(c);
        if (++seen % fold_every == 0) {
          sine.fold();
          cosine.fold();
        }
      }
      team.meet(k, lane, sine.total(), cosine.total());
    });
  }
  auto omega = team.template own<RunningSum<V>>(), coupling = team.template own<RunningSum<V>>();
  for (int k = K - 1; k >= -1; --k) {
    const int round = 2 * K - 1 - k;  // exchanges so far: K going up, then one for each k
    team.lanes([&](int lane) {
      auto& column = team.column(lane);
      const V rate = column.strength() * share;
      V S = V(0), C = V(0), above_S = V(0), above_C = V(0), A = V(0), B = V(0);
      if (k == K - 1) {
        S = team.met(K - 1, lane, 0);
        C = team.met(K - 1, lane, 1);
        column.save(0, K - 1, S, C);
        omega[lane].clear();
        coupling[lane].clear();
      } else {
        A = team.met(round - 1, lane, 0);
        B = team.met(round - 1, lane, 1);
        column.saved(0, k + 1, above_S, above_C);
        if (k >= 0) column.saved(0, k, S, C);
      }
      RunningSum<V> next_A, next_B;
      next_A.clear();
      next_B.clear();
      int64_t seen = 0;
      for (int64_t t = team.slice(lane); t < a.steps; t += team.slices()) {
        V lambda, s, c;
        if (k == K - 1) {
          lambda = column.grad(t);
        } else {
          lambda = column.reached(t);
          sincos(column.traced(k + 1, t), s, c);
          lambda = (lambda - lambda * rate * (s * above_S + c * above_C)) + (c * A - s * B);
        }
        column.set_grad(t, lambda);
        if (k >= 0) {
          sincos(column.traced(k, t), s, c);
          const V scaled = lambda * rate;
          omega[lane].add(lambda);
          coupling[lane].add(lambda * (c * S - s * C) * share);
          next_A.add(scaled * c);
          next_B.add(V(0) - scaled * s);
        }
        if (++seen % fold_every == 0) {
          omega[lane].fold();
          coupling[lane].fold();
          next_A.fold();
          next_B.fold();
        }
      }
      omega[lane].fold();
      coupling[lane].fold();
      if (k >= 0)
        team.meet(round, lane, next_A.total(), next_B.total());
      else
        team.meet(round, lane, omega[lane].total(), coupling[lane].total());
    });
  }
  team.lanes([&](int lane) {
    if (team.slice(lane) == 0)
      team.column(lane).finish(team.met(2 * K, lane, 0) * a.dt, team.met(2 * K, lane, 1) * a.dt);
  });
}

}  // namespace LOT_TARGET
}  // namespace lot
