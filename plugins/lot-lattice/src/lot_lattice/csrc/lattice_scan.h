// The lattice scan and its adjoint, one step after the other.
//
// A team of lanes works on one sequence, or on several that do not meet; a lane is a head (or a register of heads).
// What a lane learns of its neighbors, their sine and cosine, passes through `waves`. All targets run these two
// functions; a team says what a number is, where a lane keeps its own, and how lanes wait for each other:
//
//   lanes(f)             f(lane) for every lane, then a barrier. Within one call, lanes run in any order.
//   own<T>()             a T for each lane, which only that lane touches
//   row<W>(...)          a lane's row of the coupling matrix, folded: in_j = step coupling_i weights_ij and, for W = 4,
//                        out_j = step coupling_j weights_ji
//   waves<W>()           W numbers of each lane that its neighbors read, two generations: one is read, one written
//   reader, writer       one array, in order of the steps, in pieces of chunk() steps
#pragma once

#include "arguments.h"
#include "sincos.h"

namespace lot {
namespace LOT_TARGET {

// in_j summed with the neighbors' sine and cosine, out_j with their adjoints times cosine and sine.
template <class V>
struct Felt {
  V sine, cosine, by_cosine, by_sine;
};

template <class Team>
LOT_FN void lattice_forward(Team& team, const LatticeForward<typename Team::Real>& a) {
  using V = typename Team::Value;
  auto theta = team.template own<V>();
  auto sine = team.template own<V>();
  auto cosine = team.template own<V>();
  auto drift = team.template own<V>();
  auto row = team.template own<typename Team::template Row<2>>();
  auto waves = team.template waves<2>();
  auto drive = team.reader(a.drive, a.drive_at);
  auto out = team.writer(a.theta, a.theta_at);

  team.lanes([&](int lane) {
    row[lane] = team.template row<2>(a.step, a.coupling, a.weights, lane);
    drift[lane] = team.of_head(a.omega, a.omega_batch, lane) * a.step;
    theta[lane] = team.of_head(a.theta0, a.theta0_batch, lane);
    V s, c;
    sincos(theta[lane], s, c);
    waves.put(0, lane, s, c);
    sine[lane] = s;
    cosine[lane] = c;
  });

  int generation = 0;
  const int steps = static_cast<int>(a.steps), chunk = team.chunk(steps);
  for (int first = 0; first < steps; first += chunk) {
    const int last = first + chunk < steps ? first + chunk : steps;
    drive.rise(first, last);
    LOT_NO_UNROLL
    for (int t = first; t < last; ++t) {
      team.lanes([&](int lane) {
        const Felt<V> felt = row[lane].feel(waves, generation, lane);
        V s = sine[lane], c = cosine[lane];
        const V free = theta[lane] + (drive.get(t, lane) * a.step + drift[lane]);
        const V next = (free + c * felt.sine) - s * felt.cosine;
        theta[lane] = next;
        out.put(t, lane, next);
        sincos(next, s, c);
        waves.put(generation ^ 1, lane, s, c);
        sine[lane] = s;
        cosine[lane] = c;
      });
      generation ^= 1;
    }
    out.flush(first, last);
  }
}

// lambda(t-1) = lambda(t) (1 - c C - s S) + c sum_j out_j (lambda_j c_j) + s sum_j out_j (lambda_j s_j) + grad(t-1),
// with s, c, S, C at theta(t-1). The waves of step t-1 travel together with the adjoints of step t: one barrier per step,
// and only lambda is on the path from step to step.
template <class Team>
LOT_FN void lattice_backward(Team& team, const LatticeBackward<typename Team::Real>& a) {
  using V = typename Team::Value;
  const int steps = static_cast<int>(a.steps);
  auto lambda = team.template own<V>();
  auto kept = team.template own<V>();                                           // 1 - c C - s S of the step behind
  auto sine = team.template own<V>(), cosine = team.template own<V>();          // of this step
  auto old_sine = team.template own<V>(), old_cosine = team.template own<V>();  // of the step behind
  auto total = team.template own<V>(), carry = team.template own<V>();          // compensated sum of lambda
  auto row = team.template own<typename Team::template Row<4>>();
  auto waves = team.template waves<4>();
  auto grad = team.reader(a.grad, a.grad_at);
  auto earlier = team.history(a.theta, a.theta_at, a.theta0, a.theta0_batch);
  auto pull = team.writer(a.pull, a.pull_at);
  auto sines = team.sines(a.sines);

  team.lanes([&](int lane) {
    row[lane] = team.template row<4>(a.step, a.coupling, a.weights, lane);
    V s, c;
    sincos(earlier.at(steps - 1, lane), s, c);
    waves.put(0, lane, s, c, V(0), V(0));
    sine[lane] = s;
    cosine[lane] = c;
    old_sine[lane] = old_cosine[lane] = V(0);
    lambda[lane] = kept[lane] = total[lane] = carry[lane] = V(0);
  });

  int generation = 0;
  const auto arrive = [&](int lane, const Felt<V>& felt) {
    return lambda[lane] * kept[lane] + (old_cosine[lane] * felt.by_cosine + old_sine[lane] * felt.by_sine);
  };
  const int chunk = team.chunk(steps);
  for (int last = steps; last > 0;) {
    const int first = (last - 1) / chunk * chunk;
    grad.fall(first, last);
    earlier.fall(first, last);
    LOT_NO_UNROLL
    for (int t = last - 1; t >= first; --t) {
      team.lanes([&](int lane) {
        const V before = earlier.get(t, lane), given = grad.get(t, lane);  // there before what the neighbors say
        const Felt<V> felt = row[lane].feel(waves, generation, lane);
        const V s = sine[lane], c = cosine[lane];
        const V now = arrive(lane, felt) + given;
        const V by_cosine = now * c, by_sine = now * s;
        V next_s, next_c;
        sincos(before, next_s, next_c);  // of theta(t-2), the state before step t-1
        waves.put(generation ^ 1, lane, next_s, next_c, by_cosine, by_sine);
        pull.put(t, lane, now * a.step);
        sines.record(t, lane, s, c, by_cosine, by_sine);
        const V add = now - carry[lane], sum = total[lane] + add;
        carry[lane] = (sum - total[lane]) - add;
        total[lane] = sum;
        lambda[lane] = now;
        kept[lane] = V(1) - (c * felt.cosine + s * felt.sine);
        old_sine[lane] = s;
        old_cosine[lane] = c;
        sine[lane] = next_s;
        cosine[lane] = next_c;
      });
      generation ^= 1;
    }
    pull.flush(first, last);
    sines.absorb(first, last);
    last = first;
  }
  team.lanes([&](int lane) {
    const Felt<V> felt = row[lane].feel(waves, generation, lane);
    team.set_head(a.grad_theta0, lane, arrive(lane, felt));
    team.set_head(a.grad_omega, lane, total[lane] * a.step);
  });
  sines.finish(a.step);
}

}  // namespace LOT_TARGET
}  // namespace lot
