// The operators of LOT_LIBRARY, for tensors of LOT_REAL on the processor: on torch's own threads.
#include "cpu_kernels.h"
#include "tensors.h"

namespace lot {
namespace {

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
                  [](const auto& a) { LOT_TARGET::cpu_kernels.lattice_forward(a, threads()); });
}
void backward_scan(Tensor grad, Tensor theta, Tensor coupling, Tensor weights, Tensor theta0, double step, Tensor pull,
                   Tensor grad_omega, Tensor grad_theta0, Tensor sines) {
  lattice_backward(grad, theta, coupling, weights, theta0, step, pull, grad_omega, grad_theta0, sines,
                   [](const auto& a) { LOT_TARGET::cpu_kernels.lattice_backward(a, threads()); });
}
void forward_field(Tensor theta0, Tensor omega, Tensor coupling, double dt, int64_t iterations, bool causal,
                   Tensor theta, Tensor sums) {
  mean_field_forward(theta0, omega, coupling, dt, iterations, causal, theta, sums,
                     [](const auto& a) { LOT_TARGET::cpu_kernels.mean_field_forward(a, threads()); });
}
void backward_field(Tensor grad, Tensor theta0, Tensor omega, Tensor coupling, Tensor sums, double dt,
                    int64_t iterations, bool causal, Tensor grad_theta0, Tensor grad_omega, Tensor grad_coupling,
                    Tensor trace) {
  mean_field_backward(grad, theta0, omega, coupling, sums, dt, iterations, causal, grad_theta0, grad_omega,
                      grad_coupling, trace,
                      [](const auto& a) { LOT_TARGET::cpu_kernels.mean_field_backward(a, threads()); });
}

}  // namespace
}  // namespace lot

// A step between, so that LOT_LIBRARY is replaced before torch joins it to other names.
#define LOT_DEFINE(library, m) STABLE_TORCH_LIBRARY(library, m)

LOT_DEFINE(LOT_LIBRARY, m) { lot::define(m); }
STABLE_TORCH_LIBRARY_IMPL(LOT_LIBRARY, CPU, m) {
  m.impl("lattice_forward", TORCH_BOX(&lot::forward_scan));
  m.impl("lattice_backward", TORCH_BOX(&lot::backward_scan));
  m.impl("mean_field_forward", TORCH_BOX(&lot::forward_field));
  m.impl("mean_field_backward", TORCH_BOX(&lot::backward_field));
}
