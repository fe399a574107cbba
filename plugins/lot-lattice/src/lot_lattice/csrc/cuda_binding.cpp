// The operators of lot_lattice_cuda: the kernels on torch's current stream of the tensors' device.
#include <torch/csrc/stable/accelerator.h>

#include "cuda_kernels.h"
#include "tensors.h"

// Lives in the part of torch that knows CUDA, which a torch without it lacks: then there is no CUDA tensor either.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);

namespace lot {
namespace {

// Launches on `tensor`'s device: launch(scratch, stream), with scratch of `size` numbers of the tensor's type.
template <class Real, class Launch>
void launch_on(const Tensor& tensor, int64_t size, const Launch& launch) {
  const int32_t device = tensor.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, "lot_lattice: this torch was built without CUDA");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  const Tensor scratch = torch::stable::new_empty(tensor, {size});
  const char* error = launch(out<Real>(scratch), stream);
  STD_TORCH_CHECK(error == nullptr, "lot_lattice: CUDA kernel: ", error);
}

void forward_scan(Tensor drive, Tensor omega, Tensor coupling, Tensor weights, Tensor theta0, double step,
                  Tensor theta) {
  lattice_forward(drive, omega, coupling, weights, theta0, step, theta, [&](const auto& a) {
    using Real = decltype(a.step + 0);
    launch_on<Real>(drive, CudaKernels<Real>::lattice_scratch(a.heads), [&](Real* scratch, void* stream) {
      return CudaKernels<Real>::lattice_forward(a, scratch, stream);
    });
  });
}
void backward_scan(Tensor grad, Tensor theta, Tensor coupling, Tensor weights, Tensor theta0, double step, Tensor pull,
                   Tensor grad_omega, Tensor grad_theta0, Tensor sines) {
  lattice_backward(
      grad, theta, coupling, weights, theta0, step, pull, grad_omega, grad_theta0, sines, [&](const auto& a) {
        using Real = decltype(a.step + 0);
        launch_on<Real>(grad, CudaKernels<Real>::lattice_scratch(a.heads), [&](Real* scratch, void* stream) {
          return CudaKernels<Real>::lattice_backward(a, scratch, stream);
        });
      });
}
void forward_field(Tensor theta0, Tensor omega, Tensor coupling, double dt, int64_t iterations, bool causal,
                   Tensor theta, Tensor sums) {
  mean_field_forward(theta0, omega, coupling, dt, iterations, causal, theta, sums, [&](const auto& a) {
    using Real = decltype(a.dt + 0);
    launch_on<Real>(theta0, CudaKernels<Real>::mean_field_scratch(a), [&](Real* scratch, void* stream) {
      return CudaKernels<Real>::mean_field_forward(a, scratch, stream);
    });
  });
}
void backward_field(Tensor grad, Tensor theta0, Tensor omega, Tensor coupling, Tensor sums, double dt,
                    int64_t iterations, bool causal, Tensor grad_theta0, Tensor grad_omega, Tensor grad_coupling,
                    Tensor trace) {
  mean_field_backward(grad, theta0, omega, coupling, sums, dt, iterations, causal, grad_theta0, grad_omega,
                      grad_coupling, trace, [&](const auto& a) {
                        using Real = decltype(a.dt + 0);
                        launch_on<Real>(grad, CudaKernels<Real>::mean_field_scratch(a),
                                        [&](Real* scratch, void* stream) {
                                          return CudaKernels<Real>::mean_field_backward(a, scratch, stream);
                                        });
                      });
}

}  // namespace
}  // namespace lot

STABLE_TORCH_LIBRARY(lot_lattice_cuda, m) { lot::define(m); }
STABLE_TORCH_LIBRARY_IMPL(lot_lattice_cuda, CUDA, m) {
  m.impl("lattice_forward", TORCH_BOX(&lot::forward_scan));
  m.impl("lattice_backward", TORCH_BOX(&lot::backward_scan));
  m.impl("mean_field_forward", TORCH_BOX(&lot::forward_field));
  m.impl("mean_field_backward", TORCH_BOX(&lot::backward_field));
}
