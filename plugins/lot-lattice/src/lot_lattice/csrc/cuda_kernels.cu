// The kernels of the device and their launches. Includes no header of torch: nvcc reads it in seconds, on any machine.
#include "cuda_kernels.h"

#include "grid_columns.h"
#include "grid_team.h"

namespace lot {
namespace LOT_TARGET {
namespace {

// Executes a lane on the device. Warp: the lanes are one warp, which waits for itself only.
template <bool Warp>
class Executor {
 public:
  template <class F>
  __device__ __forceinline__ void lanes(F&& f) {
    f(static_cast<int>(threadIdx.x));
    if constexpr (Warp)
      __syncwarp();
    else
      __syncthreads();
  }
  template <class F>
  __device__ __forceinline__ void each(F&& f) {
    f(static_cast<int>(threadIdx.x));
  }
  template <class T>
  struct Own {
    T value;
    __device__ __forceinline__ T& operator[](int) { return value; }
    __device__ __forceinline__ const T& operator[](int) const { return value; }
  };
  template <class T>
  __device__ __forceinline__ Own<T> own() {
    return Own<T>();
  }
  template <class Real>
  __device__ __forceinline__ void fetch(Real* to, const Real* from) const {
#if __CUDA_ARCH__ >= 800
    const unsigned shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared), "l"(from), "n"(sizeof(Real)) : "memory");
#else
    *to = *from;
#endif
  }
  __device__ __forceinline__ void commit() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  template <int N>
  __device__ __forceinline__ void wait() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
  }
};

extern __shared__ __align__(32) unsigned char shared_memory[];
template <class Real>
__device__ __forceinline__ Real* shared() {
  return reinterpret_cast<Real*>(shared_memory);
}

template <class Real, int Heads>
using Team = GridTeam<Executor<(Heads > 0)>, Real, Heads>;
constexpr int lanes_of(int heads) { return heads > 0 ? 32 : most_heads; }

template <class Real, int Heads>
__global__ void __launch_bounds__(lanes_of(Heads), 1) scan_forward(const LatticeForward<Real> a, const Real* lists) {
  Executor<(Heads > 0)> executor;
  Team<Real, Heads> team(executor, shared<Real>(), lists, a.batch, static_cast<int>(a.heads), blockIdx.x);
  lattice_forward(team, a);
}

template <class Real, int Heads>
__global__ void __launch_bounds__(lanes_of(Heads), 1) scan_backward(const LatticeBackward<Real> a, const Real* lists) {
  Executor<(Heads > 0)> executor;
  Team<Real, Heads> team(executor, shared<Real>(), lists, a.batch, static_cast<int>(a.heads), blockIdx.x);
  lattice_backward(team, a);
}

template <class Real>
__global__ void __launch_bounds__(most_heads, 1)
    neighbor_lists(int heads, Real step, const Real* coupling, const Real* weights, Real* lists) {
  if (threadIdx.x < heads) list_neighbors(static_cast<int>(threadIdx.x), heads, step, coupling, weights, lists);
}

template <class Real>
__global__ void __launch_bounds__(side* side, 1) scan_sines(const LatticeBackward<Real> a) {
  Executor<false> executor;
  sum_sines(executor, shared<Real>(), a, blockIdx.x, blockIdx.y, blockIdx.z);
}

// A kernel's second launch bound, one block a multiprocessor, leaves it all the registers that it wants.
constexpr int columns_of_block = 64;
template <class Real>
constexpr int64_t fetched_size = FetchedColumn<Executor<true>, Real>::shared_size(columns_of_block);

template <class Real, int Most>
__global__ void __launch_bounds__(columns_of_block, 1) field_forward(const MeanFieldForward<Real> a, Real* scratch) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * columns_of_block + threadIdx.x;
  Executor<true> executor;
  FetchedColumn<Executor<true>, Real> column(executor, shared<Real>(), static_cast<int>(threadIdx.x), columns_of_block,
                                             a, n);
  if constexpr (Most > 0) {
    RegisterLoop<Real, Most> loop(a.iterations);
    causal_forward(column, loop, a);
  } else {
    MemoryLoop<Real> loop(a.iterations, scratch, n, static_cast<int64_t>(gridDim.x) * columns_of_block);
    causal_forward(column, loop, a);
  }
}

template <class Real, int Most>
__global__ void __launch_bounds__(columns_of_block, 1) field_backward(const MeanFieldBackward<Real> a, Real* scratch) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * columns_of_block + threadIdx.x;
  Executor<true> executor;
  FetchedColumn<Executor<true>, Real> column(executor, shared<Real>(), static_cast<int>(threadIdx.x), columns_of_block,
                                             a, n);
  if constexpr (Most > 0) {
    RegisterLoop<Real, Most> loop(a.iterations);
    causal_backward(column, loop, a);
  } else {
    MemoryLoop<Real> loop(a.iterations, scratch, n, static_cast<int64_t>(gridDim.x) * columns_of_block);
    causal_backward(column, loop, a);
  }
}

template <class Real>
__global__ void __launch_bounds__(across* down, 1) all_field_forward(const MeanFieldForward<Real> a) {
  Executor<false> executor;
  GridColumnTeam<Executor<false>, Real> team(executor, shared<Real>(), a, blockIdx.x);
  all_forward(team, a);
}

template <class Real>
__global__ void __launch_bounds__(across* down, 1) all_field_backward(const MeanFieldBackward<Real> a) {
  Executor<false> executor;
  GridColumnTeam<Executor<false>, Real> team(executor, shared<Real>(), a, blockIdx.x);
  all_backward(team, a);
}

const char* launched() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
unsigned blocks(int64_t count, int64_t of) { return static_cast<unsigned>((count + of - 1) / of); }

// Calls launch(Constant<N>) with the least N of the list that holds n, or with Constant<0>.
template <class Launch>
void at_least(int64_t, const Launch& launch) {
  launch(Constant<0>());
}
template <int N, int... More, class Launch>
void at_least(int64_t n, const Launch& launch) {
  if (n <= N) {
    launch(Constant<N>());
  } else if constexpr (sizeof...(More) > 0) {
    at_least<More...>(n, launch);
  } else {
    launch(Constant<0>());
  }
}
// Float64 is for checking: any size, in memory.
template <class Launch>
void by_heads(float, int64_t heads, const Launch& launch) {
  at_least<4, 8, 12, 16, 32>(heads, launch);
}
template <class Launch>
void by_heads(double, int64_t, const Launch& launch) {
  launch(Constant<0>());
}
template <class Launch>
void by_iterations(float, int64_t K, const Launch& launch) {
  at_least<1, 2, 4, 8, 12, 16>(K, launch);
}
template <class Launch>
void by_iterations(double, int64_t, const Launch& launch) {
  launch(Constant<0>());
}

template <class Arguments>
int64_t scratch_of(const Arguments& a) {
  const int64_t columns = a.batch * a.heads * a.oscillators;
  int64_t size = 0;
  by_iterations(a.dt, a.iterations, [&](auto most) {
    if (decltype(most)::value == 0)
      size = (columns + columns_of_block - 1) / columns_of_block * columns_of_block * a.iterations;
  });
  return a.causal ? size * MemoryLoop<float>::lines : 0;
}

}  // namespace
}  // namespace LOT_TARGET

using namespace LOT_TARGET;

template <class Real>
int64_t CudaKernels<Real>::lattice_scratch(int64_t heads) {
  int64_t size = 0;
  by_heads(Real(), heads, [&](auto room) { size = decltype(room)::value > 0 ? 0 : list_size(heads); });
  return size;
}
template <class Real>
int64_t CudaKernels<Real>::mean_field_scratch(const MeanFieldForward<Real>& a) {
  return scratch_of(a);
}
template <class Real>
int64_t CudaKernels<Real>::mean_field_scratch(const MeanFieldBackward<Real>& a) {
  return scratch_of(a);
}

template <class Real>
const char* CudaKernels<Real>::lattice_forward(const LatticeForward<Real>& a, Real* lists, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int heads = static_cast<int>(a.heads);
  by_heads(a.step, heads, [&](auto room) {
    constexpr int Heads = decltype(room)::value;
    using T = Team<Real, Heads>;
    if (Heads == 0) neighbor_lists<<<1, most_heads, 0, queue>>>(heads, a.step, a.coupling, a.weights, lists);
    scan_forward<Real, Heads>
        <<<blocks(a.batch, T::sequences(heads)), T::width(heads), T::shared_size(heads, 2, 1), queue>>>(a, lists);
  });
  return launched();
}

template <class Real>
const char* CudaKernels<Real>::lattice_backward(const LatticeBackward<Real>& a, Real* lists, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int heads = static_cast<int>(a.heads);
  by_heads(a.step, heads, [&](auto room) {
    constexpr int Heads = decltype(room)::value;
    using T = Team<Real, Heads>;
    if (Heads == 0) neighbor_lists<<<1, most_heads, 0, queue>>>(heads, a.step, a.coupling, a.weights, lists);
    scan_backward<Real, Heads>
        <<<blocks(a.batch, T::sequences(heads)), T::width(heads), T::shared_size(heads, 4, 2), queue>>>(a, lists);
  });
  const dim3 grid(static_cast<unsigned>(a.parts), blocks(heads, side), blocks(heads, side));
  scan_sines<Real><<<grid, side * side, sines_shared_size<Real>, queue>>>(a);
  return launched();
}

template <class Real>
const char* CudaKernels<Real>::mean_field_forward(const MeanFieldForward<Real>& a, Real* scratch, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t columns = a.batch * a.heads * a.oscillators;
  if (!a.causal) {
    all_field_forward<Real><<<blocks(columns, across), across * down, columns_shared_size<Real>, queue>>>(a);
    return launched();
  }
  by_iterations(a.dt, a.iterations, [&](auto most) {
    field_forward<Real, decltype(most)::value>
        <<<blocks(columns, columns_of_block), columns_of_block, fetched_size<Real>, queue>>>(a, scratch);
  });
  return launched();
}

template <class Real>
const char* CudaKernels<Real>::mean_field_backward(const MeanFieldBackward<Real>& a, Real* scratch, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t columns = a.batch * a.heads * a.oscillators;
  if (!a.causal) {
    all_field_backward<Real><<<blocks(columns, across), across * down, columns_shared_size<Real>, queue>>>(a);
    return launched();
  }
  by_iterations(a.dt, a.iterations, [&](auto most) {
    field_backward<Real, decltype(most)::value>
        <<<blocks(columns, columns_of_block), columns_of_block, fetched_size<Real>, queue>>>(a, scratch);
  });
  return launched();
}

template struct CudaKernels<float>;
template struct CudaKernels<double>;

}  // namespace lot
