// CUDA kernels of `face_neighbors`: a hash table of edges. An entry holds its edge, the number of its half edges and the
// exclusive or of their slots, from which each of exactly two half edges finds the other. The result does not depend on
// the order of insertion.
#include "common/cuda_launch.h"
#include "face_neighbors/face_neighbors_cuda.h"

namespace tetragan {
namespace {

constexpr unsigned long long kFree = ~0ull;

struct Entry {
  unsigned long long edge;
  int32_t count, slots;
};

int64_t capacity_for(int64_t faces) {
  int64_t capacity = 64;
  while (capacity < 6 * faces) capacity *= 2;
  return capacity;
}

// The edge of a slot (3·face + k) as one number; kFree for an edge from a vertex to itself and for negative ids.
__device__ unsigned long long edge_of(const int32_t* faces, int64_t slot) {
  const int32_t* f = faces + slot / 3 * 3;
  const int k = static_cast<int>(slot % 3);
  const int32_t a = f[k == 2 ? 0 : k + 1], b = f[k == 0 ? 2 : k - 1];
  if (a == b || a < 0 || b < 0) return kFree;
  const unsigned long long low = a < b ? a : b, high = a < b ? b : a;
  return low << 32 | high;
}

__device__ int64_t first_place(unsigned long long edge, int64_t capacity) {
  unsigned long long h = edge * 0x9e3779b97f4a7c15ull;
  h ^= h >> 32;
  return static_cast<int64_t>(h & static_cast<unsigned long long>(capacity - 1));
}

__global__ void clear_kernel(Entry* table, int64_t capacity) {
  TETRAGAN_EACH(i, capacity) table[i] = {kFree, 0, 0};
}

__global__ void insert_kernel(const int32_t* faces, int64_t slots, Entry* table, int64_t capacity) {
  TETRAGAN_EACH(slot, slots) {
    const unsigned long long edge = edge_of(faces, slot);
    if (edge == kFree) continue;
    for (int64_t place = first_place(edge, capacity);; place = (place + 1) & (capacity - 1)) {
      const unsigned long long found = atomicCAS(&table[place].edge, kFree, edge);
      if (found != kFree && found != edge) continue;
      atomicAdd(&table[place].count, 1);
      atomicXor(&table[place].slots, static_cast<int32_t>(slot));
      break;
    }
  }
}

__global__ void match_kernel(const int32_t* faces, int64_t slots, const Entry* table, int64_t capacity,
                             int32_t* neighbors) {
  TETRAGAN_EACH(slot, slots) {
    neighbors[slot] = -1;
    const unsigned long long edge = edge_of(faces, slot);
    if (edge == kFree) continue;
    int64_t place = first_place(edge, capacity);
    while (table[place].edge != edge) place = (place + 1) & (capacity - 1);
    if (table[place].count != 2) continue;
    const int32_t other = (table[place].slots ^ static_cast<int32_t>(slot)) / 3;
    if (other != slot / 3) neighbors[slot] = other;
  }
}

}  // namespace

int64_t face_neighbors_cuda_scratch(int64_t faces) { return capacity_for(faces) * static_cast<int64_t>(sizeof(Entry)); }

void face_neighbors_cuda(const int32_t* faces, int64_t count, void* scratch, int32_t* neighbors, cudaStream_t stream) {
  if (count == 0) return;
  auto* table = static_cast<Entry*>(scratch);
  const int64_t capacity = capacity_for(count);
  clear_kernel<<<blocks_for(capacity), kBlock, 0, stream>>>(table, capacity);
  insert_kernel<<<blocks_for(3 * count), kBlock, 0, stream>>>(faces, 3 * count, table, capacity);
  match_kernel<<<blocks_for(3 * count), kBlock, 0, stream>>>(faces, 3 * count, table, capacity, neighbors);
}

}  // namespace tetragan
