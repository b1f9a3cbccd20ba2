// Functions that host and device share are marked TETRAGAN_HD and use no standard library beyond <cmath>.
#pragma once
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define TETRAGAN_HD __host__ __device__ __forceinline__
// Before a loop that is seldom run, or whose body is large: its code shall not be repeated.
#define TETRAGAN_ROLLED _Pragma("unroll 1")
#else
#define TETRAGAN_HD inline __attribute__((always_inline))
#define TETRAGAN_ROLLED
#endif
