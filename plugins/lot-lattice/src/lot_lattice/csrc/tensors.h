// Tensors of torch's stable ABI as the arguments of kernels.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "arguments.h"

namespace lot {

using torch::stable::Tensor;

template <class Real>
const Real* in(const Tensor& tensor) {
  return static_cast<const Real*>(tensor.const_data_ptr());
}
template <class Real>
Real* out(const Tensor& tensor) {
  return static_cast<Real*>(tensor.mutable_data_ptr());
}
inline Place place(const Tensor& tensor) { return {tensor.stride(0), tensor.stride(1), tensor.stride(2)}; }

// Calls use(Real()) for the type of `tensor`'s numbers.
template <class Use>
void with_type(const Tensor& tensor, const Use& use) {
#if defined(LOT_REAL)  // a library of one type
  STD_TORCH_CHECK(tensor.element_size() == sizeof(LOT_REAL), "lot_lattice: numbers of another type");
  use(LOT_REAL());
#else
  tensor.element_size() == 4 ? use(0.0f) : use(0.0);
#endif
}

// Operators of one device, `run` being called with arguments of the tensors' type. What they are given was checked in
// Python: shapes, one type, one device, and strides that the kernels know.
template <class Run>
void lattice_forward(const Tensor& drive, const Tensor& omega, const Tensor& coupling, const Tensor& weights,
                     const Tensor& theta0, double step, const Tensor& theta, const Run& run) {
  with_type(drive, [&](auto zero) {
    using Real = decltype(zero);
    LatticeForward<Real> a;
    a.batch = drive.size(0), a.heads = drive.size(1), a.steps = drive.size(2);
    a.step = static_cast<Real>(step);
    a.drive = in<Real>(drive), a.drive_at = place(drive);
    a.omega = in<Real>(omega), a.omega_batch = omega.stride(0);
    a.coupling = in<Real>(coupling), a.weights = in<Real>(weights);
    a.theta0 = in<Real>(theta0), a.theta0_batch = theta0.stride(0);
    a.theta = out<Real>(theta), a.theta_at = place(theta);
    run(a);
  });
}

template <class Run>
void lattice_backward(const Tensor& grad, const Tensor& theta, const Tensor& coupling, const Tensor& weights,
                      const Tensor& theta0, double step, const Tensor& pull, const Tensor& grad_omega,
                      const Tensor& grad_theta0, const Tensor& sines, const Run& run) {
  with_type(grad, [&](auto zero) {
    using Real = decltype(zero);
    LatticeBackward<Real> a;
    a.batch = grad.size(0), a.heads = grad.size(1), a.steps = grad.size(2);
    a.step = static_cast<Real>(step);
    a.grad = in<Real>(grad), a.grad_at = place(grad);
    a.theta = in<Real>(theta), a.theta_at = place(theta);
    a.coupling = in<Real>(coupling), a.weights = in<Real>(weights);
    a.theta0 = in<Real>(theta0), a.theta0_batch = theta0.stride(0);
    a.pull = out<Real>(pull), a.pull_at = place(pull);
    a.grad_omega = out<Real>(grad_omega), a.grad_theta0 = out<Real>(grad_theta0);
    a.sines = out<Real>(sines), a.parts = sines.size(0);
    run(a);
  });
}

template <class Run>
void mean_field_forward(const Tensor& theta0, const Tensor& omega, const Tensor& coupling, double dt,
                        int64_t iterations, bool causal, const Tensor& theta, const Tensor& sums, const Run& run) {
  with_type(theta0, [&](auto zero) {
    using Real = decltype(zero);
    MeanFieldForward<Real> a;
    a.batch = theta0.size(0), a.heads = theta0.size(1), a.steps = theta0.size(2), a.oscillators = theta0.size(3);
    a.iterations = static_cast<int>(iterations), a.causal = causal, a.dt = static_cast<Real>(dt);
    a.theta0 = in<Real>(theta0), a.theta0_at = place(theta0);
    a.omega = in<Real>(omega), a.omega_batch = omega.stride(0);
    a.coupling = in<Real>(coupling);
    a.theta = out<Real>(theta), a.theta_at = place(theta);
    a.sums = out<Real>(sums), a.segments = sums.size(2);
    run(a);
  });
}

template <class Run>
void mean_field_backward(const Tensor& grad, const Tensor& theta0, const Tensor& omega, const Tensor& coupling,
                         const Tensor& sums, double dt, int64_t iterations, bool causal, const Tensor& grad_theta0,
                         const Tensor& grad_omega, const Tensor& grad_coupling, const Tensor& trace, const Run& run) {
  with_type(theta0, [&](auto zero) {
    using Real = decltype(zero);
    MeanFieldBackward<Real> a;
    a.batch = theta0.size(0), a.heads = theta0.size(1), a.steps = theta0.size(2), a.oscillators = theta0.size(3);
    a.iterations = static_cast<int>(iterations), a.causal = causal, a.dt = static_cast<Real>(dt);
    a.grad = in<Real>(grad), a.grad_at = place(grad);
    a.theta0 = in<Real>(theta0), a.theta0_at = place(theta0);
    a.omega = in<Real>(omega), a.omega_batch = omega.stride(0);
    a.coupling = in<Real>(coupling);
    a.sums = out<Real>(sums), a.segments = sums.size(2);
    a.grad_theta0 = out<Real>(grad_theta0), a.grad_theta0_at = place(grad_theta0);
    a.grad_omega = out<Real>(grad_omega), a.grad_coupling = out<Real>(grad_coupling);
    a.trace = out<Real>(trace);
    run(a);
  });
}

inline void define(torch::stable::detail::StableLibrary& m) {
  m.def(
      "lattice_forward(Tensor drive, Tensor omega, Tensor coupling, Tensor weights, Tensor theta0, float step, "
      "Tensor(a!) theta) -> ()");
  m.def(
      "lattice_backward(Tensor grad, Tensor theta, Tensor coupling, Tensor weights, Tensor theta0, float step, "
      "Tensor(a!) pull, Tensor(b!) grad_omega, Tensor(c!) grad_theta0, Tensor(d!) sines) -> ()");
  m.def(
      "mean_field_forward(Tensor theta0, Tensor omega, Tensor coupling, float dt, int iterations, bool causal, "
      "Tensor(a!) theta, Tensor(b!) sums) -> ()");
  m.def(
      "mean_field_backward(Tensor grad, Tensor theta0, Tensor omega, Tensor coupling, Tensor(a!) sums, float dt, "
      "int iterations, bool causal, Tensor(b!) grad_theta0, Tensor(c!) grad_omega, Tensor(d!) grad_coupling, "
      "Tensor(e!) trace) -> ()");
}

}  // namespace lot
