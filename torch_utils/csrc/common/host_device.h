// Functions that host and device share are marked TETRAGAN_HD and use no standard library beyond <cmath>.
#pragma once
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define TETRAGAN_HD __host__ __device__ __forceinline__
#else
#define TETRAGAN_HD inline __attribute__((always_inline))
#endif
