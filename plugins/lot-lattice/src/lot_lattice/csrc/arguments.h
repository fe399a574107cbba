// What a kernel is called with: pointers and places, the same for every target. B batch, H heads, T positions, O
// oscillators.
#pragma once

#include <cstdint>

namespace lot {

// Element (b, h, t) of a (B, H, T) array lies at data[b * batch + h * head + t * time].
struct Place {
  int64_t batch, head, time;
};

// theta(t) = theta(t-1) + step [omega + drive(t) + coupling_i sum_j weights_ij sin(theta_j(t-1) - theta_i(t-1))]
template <class Real>
struct LatticeForward {
  int64_t batch, heads, steps;
  Real step;
  const Real* drive;
  Place drive_at;
  const Real* omega;     // (B, H)
  int64_t omega_batch;   // distance from one sequence to the next, 0 where all share one row
  const Real* coupling;  // (H,)
  const Real* weights;   // (H, H)
  const Real* theta0;    // (B, H)
  int64_t theta0_batch;
  Real* theta;  // out (B, H, T)
  Place theta_at;
};

// Adjoint of the above. With lambda(t) = dL/dtheta(t), everything behind it taken into account:
// pull(t) = step lambda(t), and sines_ij = sum_{b, t} pull_i(t) sin(theta_j(t-1) - theta_i(t-1)).
template <class Real>
struct LatticeBackward {
  int64_t batch, heads, steps;
  Real step;
  const Real* grad;  // (B, H, T)
  Place grad_at;
  const Real* theta;  // (B, H, T)
  Place theta_at;
  const Real* coupling;
  const Real* weights;
  const Real* theta0;
  int64_t theta0_batch;
  Real* pull;  // out (B, H, T): gradient of drive
  Place pull_at;
  Real* grad_omega;   // out (B, H)
  Real* grad_theta0;  // out (B, H)
  Real* sines;        // out (parts, H, H), to be summed over the parts; one part on the host
  int64_t parts;
};

// theta_i <- theta_i + dt [omega + (coupling / n_i) sum_{j in P(i)} sin(theta_j - theta_i)], `iterations` times, in
// each column (b, h, o) by itself. P(i) holds the tokens j <= i, or all of them. Arrays (B, H, T, O) have o contiguous.
template <class Real>
struct MeanFieldForward {
  int64_t batch, heads, steps, oscillators;
  int iterations;
  bool causal;
  Real dt;
  const Real* theta0;
  Place theta0_at;
  const Real* omega;  // (B, H, O)
  int64_t omega_batch;
  const Real* coupling;  // (H,)
  Real* theta;
  Place theta_at;
  Real* sums;        // out (B, H, segments, K, 2, O): prefix sums of sin and cos where a segment of tokens ends
  int64_t segments;  // 0: none are kept
};

template <class Real>
struct MeanFieldBackward {
  int64_t batch, heads, steps, oscillators;
  int iterations;
  bool causal;
  Real dt;
  const Real* grad;
  Place grad_at;
  const Real* theta0;
  Place theta0_at;
  const Real* omega;
  int64_t omega_batch;
  const Real* coupling;
  const Real* sums;
  int64_t segments;
  Real* grad_theta0;
  Place grad_theta0_at;
  Real* grad_omega;     // out (B, H, O)
  Real* grad_coupling;  // out (B, H, O), to be summed over b and o
  Real* trace;          // (K, B, H, T, O): scratch of the all-token form, phases before each iteration
};

}  // namespace lot
