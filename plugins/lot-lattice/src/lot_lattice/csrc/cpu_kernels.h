// The kernels of one instruction set and one type of numbers, and how they get threads.
#pragma once

#include "arguments.h"

namespace lot {

// Runs task(n, context) for n in [0, count) on any threads.
struct Threads {
  int64_t number;
  void (*run)(int64_t count, void (*task)(int64_t n, void* context), void* context);
};

template <class Real>
struct CpuKernels {
  void (*lattice_forward)(const LatticeForward<Real>&, const Threads&);
  void (*lattice_backward)(const LatticeBackward<Real>&, const Threads&);
  void (*mean_field_forward)(const MeanFieldForward<Real>&, const Threads&);
  void (*mean_field_backward)(const MeanFieldBackward<Real>&, const Threads&);
};

namespace LOT_TARGET {
extern const CpuKernels<LOT_REAL> cpu_kernels;
}

}  // namespace lot
