// The kernels of the device as the host calls them. `stream` is a cudaStream_t. Each returns nullptr, or what went
// wrong.
#pragma once

#include "arguments.h"

namespace lot {

template <class Real>
struct CudaKernels {
  // Reals of device memory that a call needs, handed to it as `scratch`.
  static int64_t lattice_scratch(int64_t heads);
  static int64_t mean_field_scratch(const MeanFieldForward<Real>&);
  static int64_t mean_field_scratch(const MeanFieldBackward<Real>&);

  static const char* lattice_forward(const LatticeForward<Real>&, Real* scratch, void* stream);
  static const char* lattice_backward(const LatticeBackward<Real>&, Real* scratch, void* stream);
  static const char* mean_field_forward(const MeanFieldForward<Real>&, Real* scratch, void* stream);
  static const char* mean_field_backward(const MeanFieldBackward<Real>&, Real* scratch, void* stream);
};

}  // namespace lot
