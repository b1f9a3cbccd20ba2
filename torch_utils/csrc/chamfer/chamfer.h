// Arithmetic of `chamfer`, shared by the CPU and CUDA kernels.
//
// squared_distance is evaluated as (dx² + dy²) + dz², without fused multiply-add, everywhere: all kernels and the PyTorch
// reference then agree bit for bit. box_gap never exceeds the squared_distance of points in the two boxes, rounding
// included, because every step of both is monotone.
#pragma once
#include "common/host_device.h"

namespace tetragan {

// Points of a block: point sets are sorted in space and cut into blocks, so that distant blocks can be skipped.
constexpr int kChamferBlock = 16;

template <class T>
TETRAGAN_HD T squared_distance(T ax, T ay, T az, T bx, T by, T bz) {
  const T dx = ax - bx, dy = ay - by, dz = az - bz;
  return (dx * dx + dy * dy) + dz * dz;
}

}  // namespace tetragan
