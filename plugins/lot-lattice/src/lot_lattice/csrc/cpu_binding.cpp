// The operators of lot_lattice_cpu: the best instruction set of this processor, torch's own threads.
#include <atomic>

#include "cpu_kernels.h"
#include "tensors.h"

namespace lot {
namespace {

// 0 baseline, 1 AVX2 with FMA, 2 AVX-512. The baseline of other architectures is what their compiler always emits.
int64_t best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw")) {
    return 2;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}
std::atomic<int64_t> level{best_level()};

// Float64 is for checking: it gets the baseline only.
const CpuKernels<double>& kernels_of(double) { return baseline::double_kernels; }
const CpuKernels<float>& kernels_of(float) {
#if defined(__x86_64__)
  if (level == 2) return avx512::float_kernels;
  if (level == 1) return avx2::float_kernels;
#endif
  return baseline::float_kernels;
}

Threads threads() {
  return {static_cast<int64_t>(torch::stable::get_num_threads()),
          [](int64_t count, void (*task)(int64_t, void*), void* context) {
            torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
              for (int64_t n = begin; n < end; ++n) task(n, context);
            });
          }};
}

void forward_scan(Tensor drive, Tensor omega, Tensor coupling, Tensor weights, Tensor theta0, double step,
                  Tensor theta) {
  lattice_forward(drive, omega, coupling, weights, theta0, step, theta,
                  [](const auto& a) { kernels_of(a.step).lattice_forward(a, threads()); });
}
void backward_scan(Tensor grad, Tensor theta, Tensor coupling, Tensor weights, Tensor theta0, double step, Tensor pull,
                   Tensor grad_omega, Tensor grad_theta0, Tensor sines) {
  lattice_backward(grad, theta, coupling, weights, theta0, step, pull, grad_omega, grad_theta0, sines,
                   [](const auto& a) { kernels_of(a.step).lattice_backward(a, threads()); });
}
void forward_field(Tensor theta0, Tensor omega, Tensor coupling, double dt, int64_t iterations, bool causal,
                   Tensor theta, Tensor sums) {
  mean_field_forward(theta0, omega, coupling, dt, iterations, causal, theta, sums,
                     [](const auto& a) { kernels_of(a.dt).mean_field_forward(a, threads()); });
}
void backward_field(Tensor grad, Tensor theta0, Tensor omega, Tensor coupling, Tensor sums, double dt,
                    int64_t iterations, bool causal, Tensor grad_theta0, Tensor grad_omega, Tensor grad_coupling,
                    Tensor trace) {
  mean_field_backward(grad, theta0, omega, coupling, sums, dt, iterations, causal, grad_theta0, grad_omega,
                      grad_coupling, trace, [](const auto& a) { kernels_of(a.dt).mean_field_backward(a, threads()); });
}

// The level in use; a limit of 0 or more lowers it to that, for tests and for comparing.
int64_t instruction_set(int64_t limit) {
  if (limit >= 0) level = limit < best_level() ? limit : best_level();
  return level;
}

}  // namespace
}  // namespace lot

STABLE_TORCH_LIBRARY(lot_lattice_cpu, m) {
  lot::define(m);
  m.def("instruction_set(int limit) -> int");
}
STABLE_TORCH_LIBRARY_IMPL(lot_lattice_cpu, CPU, m) {
  m.impl("lattice_forward", TORCH_BOX(&lot::forward_scan));
  m.impl("lattice_backward", TORCH_BOX(&lot::backward_scan));
  m.impl("mean_field_forward", TORCH_BOX(&lot::forward_field));
  m.impl("mean_field_backward", TORCH_BOX(&lot::backward_field));
}
STABLE_TORCH_LIBRARY_IMPL(lot_lattice_cpu, CompositeExplicitAutograd, m) {
  m.impl("instruction_set", TORCH_BOX(&lot::instruction_set));
}
