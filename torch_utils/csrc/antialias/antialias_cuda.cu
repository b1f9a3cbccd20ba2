// CUDA kernels of `antialias`, in the order of antialias_cpu.cpp: silhouettes of each pixel's two pairs, then each pixel
// gathers from its four; only the gradient of the positions is added with atomics. Few pairs show two triangles, so they are
// listed first, and the walks fill whole warps. The list's order is by chance; each walk writes its own pair.
#include "antialias/antialias_cuda.h"

#include "antialias/antialias.h"
#include "common/cuda_launch.h"
#include "common/cuda_vector.h"

namespace tetragan {
namespace {

using edges::Pair;
using edges::Point;

// Sizes as the kernels use them. pixels: of all images.
struct Image {
  uint32_t pixels, height, width;
  int32_t channels, faces;
  int64_t vertices;
  PixelGrid grid;

  explicit Image(const AntialiasSize& s)
      : pixels(static_cast<uint32_t>(s.images * s.height * s.width)),
        height(static_cast<uint32_t>(s.height)),
        width(static_cast<uint32_t>(s.width)),
        channels(static_cast<int32_t>(s.channels)),
        faces(static_cast<int32_t>(s.faces)),
        vertices(s.vertices),
        grid(s.height, s.width) {}

  // From a pixel to its partner to the right (0) or below (1).
  __device__ uint32_t step(uint32_t direction) const { return direction == 0 ? 1 : width; }
};

// points: of all vertices for pairs within a row, then for pairs within a column; each with kNoPoint behind it.
template <class T>
__global__ void project_kernel(const T* positions, AntialiasSize s, Point* points) {
  TETRAGAN_EACH(i, s.vertices + 1) {
    Point found = edges::kNoPoint;
    if (i < s.vertices) {
      const Pack<T, 4> p = load_pack<4>(positions + 4 * i);
      found = edges::screen_point(p.values[0], p.values[1], p.values[3], static_cast<int32_t>(s.height),
                                  static_cast<int32_t>(s.width));
    }
    points[i] = found;
    points[s.vertices + 1 + i] = edges::turned(found);
  }
}

// What `rast` says of a pixel.
template <class T>
struct Seen {
  T depth;
  int32_t face;  // −1: background
};

template <class T>
__device__ Seen<T> seen_at(const T* rast, uint32_t pixel, const Image& image) {
  const Pack<T, 2> found = load_pack<2>(rast + 4 * static_cast<int64_t>(pixel) + 2);
  const uint32_t face = static_cast<uint32_t>(nearest_int(found.values[1])) - 1;
  return {found.values[0], face < static_cast<uint32_t>(image.faces) ? static_cast<int32_t>(face) : -1};
}

// A pair of two triangles, as its walk must know it. place: 2·pixel + direction. near: 3·face + 3 of the nearer pixel, negative if
// that is the second pixel of the pair. target: the face of the farther pixel, −1: background. center: the farther pixel along the
// pair's direction, and both pixels across it times 2¹⁶.
struct alignas(16) Walk {
  uint32_t place;
  int32_t near, target;
  uint32_t center;
};

template <class T>
__device__ Walk walk_of(uint32_t place, const Seen<T>& first, const Seen<T>& second, uint32_t along, uint32_t across) {
  const bool self = (second.face < 0) | ((first.face >= 0) & (first.depth <= second.depth));
  return {place, self ? 3 * first.face + 3 : -(3 * second.face + 3), self ? second.face : first.face,
          along + self | across << 16};
}

// Clears every pixel's pairs and lists those of two triangles, `count` in all.
template <class T>
__global__ void list_kernel(const T* rast, Image image, int32_t* slots, T* blends, uint32_t* count, Walk* list) {
  __shared__ uint32_t listed, first;
  if (threadIdx.x == 0) listed = 0;
  __syncthreads();
  const uint32_t pixel = thread_index();
  int32_t row = 0, column = 0;
  Seen<T> here = {0, -1}, right = here, below = here;
  if (pixel < image.pixels) {
    image.grid.locate(pixel, row, column);
    right = below = here = seen_at(rast, pixel, image);
    if (static_cast<uint32_t>(column) + 1 < image.width) right = seen_at(rast, pixel + 1, image);
    if (static_cast<uint32_t>(row) + 1 < image.height) below = seen_at(rast, pixel + image.width, image);
    store_pack(slots + 2 * static_cast<int64_t>(pixel), Pack<int32_t, 2>{0, 0});
    store_pack(blends + 2 * static_cast<int64_t>(pixel), Pack<T, 2>{0, 0});
  }
  const bool has_right = right.face != here.face, has_below = below.face != here.face;
  uint32_t place = has_right || has_below
                       ? atomicAdd(&listed, static_cast<uint32_t>(has_right) + static_cast<uint32_t>(has_below))
                       : 0;
  __syncthreads();
  if (threadIdx.x == 0 && listed > 0) first = atomicAdd(count, listed);
  __syncthreads();
  if (!has_right && !has_below) return;
  Walk* target = list + first + place;
  if (has_right) *target++ = walk_of(2 * pixel, here, right, column, row);
  if (has_below) *target = walk_of(2 * pixel + 1, here, below, row, column);
}

template <class T>
__global__ void walk_kernel(const Point* in_row, const Point* in_column, const int32_t* faces, const int32_t* neighbors,
                            Image image, const uint32_t* count, const Walk* list, int32_t* slots, T* blends) {
  const uint32_t listed = *count, stride = gridDim.x * blockDim.x;
  for (int64_t k = thread_index(); k < listed; k += stride) {
    const Walk walk = list[k];
    const bool vertical = walk.place % 2 == 1, self = walk.near > 0;
    const edges::Mesh mesh = {vertical ? in_column : in_row, faces, neighbors, static_cast<uint32_t>(image.faces),
                              static_cast<uint32_t>(image.vertices)};
    const Pair pair = {(walk.center & 0xffff) + 0.5, (walk.center >> 16) + 0.5, self, vertical};
    edges::find_silhouette(mesh, pair, (self ? walk.near : -walk.near) - 3, walk.target, [&](int32_t edge, double rest) {
      slots[walk.place] = self ? edge + 1 : -(edge + 1);
      blends[walk.place] = edges::blend_at<T>(rest);
    });
  }
}

// Of the pair that begins at pixel `first`, the nearer and the farther pixel.
struct Ends {
  int64_t near, far;
};

__device__ Ends ends_of(int32_t code, uint32_t first, uint32_t step) {
  const int64_t second = static_cast<int64_t>(first) + step;
  return code > 0 ? Ends{first, second} : Ends{second, first};
}

// `out` holds a copy of `source` and gets the blends of each pixel's pairs: right, left, below, above. With kBackward, `source`
// is the gradient, and out that of the color.
template <class T, bool kBackward>
__global__ void gather_kernel(const T* source, const int32_t* slots, const T* blends, Image image, T* out) {
  const uint32_t pixel = thread_index();
  if (pixel >= image.pixels) return;
  const Pack<int32_t, 2> own = load_pack<2>(slots + 2 * static_cast<int64_t>(pixel));
  int32_t row, column;
  image.grid.locate(pixel, row, column);
  const int32_t left = column == 0 ? 0 : slots[2 * static_cast<int64_t>(pixel - 1)];
  const int32_t above = row == 0 ? 0 : slots[2 * static_cast<int64_t>(pixel - image.width) + 1];
  if ((own.values[0] | left | own.values[1] | above) == 0) return;
  T* target = out + static_cast<int64_t>(pixel) * image.channels;
  TETRAGAN_ROLLED
  for (uint32_t which = 0; which < 4; ++which) {
    const uint32_t direction = which / 2, step = image.step(direction), first = which % 2 == 0 ? pixel : pixel - step;
    const int32_t code = which == 0 ? own.values[0] : which == 1 ? left : which == 2 ? own.values[1] : above;
    if (code == 0) continue;
    const Ends ends = ends_of(code, first, step);
    const T amount = blends[2 * static_cast<int64_t>(first) + direction];
    const int64_t changed = amount > 0 ? ends.far : ends.near;
    if (!kBackward && pixel != changed) continue;
    const T *near = source + ends.near * image.channels, *far = source + ends.far * image.channels;
    const T* of_changed = source + changed * image.channels;
    TETRAGAN_ROLLED
    for (int32_t k = 0; k < image.channels; ++k) {
      target[k] += kBackward ? (pixel == ends.near ? amount : -amount) * of_changed[k] : amount * (near[k] - far[k]);
    }
  }
}

template <class T>
__global__ void positions_kernel(const T* grad, const T* color, const T* positions, const int32_t* faces,
                                 const int32_t* slots, const T* blends, Image image, T* grad_positions) {
  const uint32_t pixel = thread_index();
  if (pixel >= image.pixels) return;
  const Pack<int32_t, 2> own = load_pack<2>(slots + 2 * static_cast<int64_t>(pixel));
  TETRAGAN_ROLLED
  for (uint32_t direction = 0; direction < 2; ++direction) {
    const int32_t code = direction == 0 ? own.values[0] : own.values[1];
    if (code == 0) continue;
    const Ends ends = ends_of(code, pixel, image.step(direction));
    const T amount = blends[2 * static_cast<int64_t>(pixel) + direction];
    const T* of_target = grad + (amount > 0 ? ends.far : ends.near) * image.channels;
    const T *near = color + ends.near * image.channels, *far = color + ends.far * image.channels;
    double of_distance = 0;
    TETRAGAN_ROLLED
    for (int32_t k = 0; k < image.channels; ++k) of_distance += static_cast<double>(of_target[k]) * (near[k] - far[k]);
    if (of_distance == 0) continue;
    const int32_t slot = (code > 0 ? code : -code) - 1;
    const int32_t* f = faces + slot / 3 * 3;
    const int64_t vertex[2] = {f[edges::next_corner(slot % 3)], f[edges::last_corner(slot % 3)]};
    double corner[2][4], sum[8] = {};
    for (int k = 0; k < 2; ++k) {
      const Pack<T, 4> position = load_pack<4>(positions + 4 * vertex[k]);
      for (int c = 0; c < 4; ++c) corner[k][c] = position.values[c];
    }
    int32_t row, column;
    image.grid.locate(pixel, row, column);
    edges::distance_gradient(corner[0], corner[1], edges::pair_at(row, column, direction == 1, code > 0),
                             static_cast<int32_t>(image.height), static_cast<int32_t>(image.width), of_distance, sum);
    for (int k = 0; k < 2; ++k) {
      Pack<T, 4> of_vertex;
      for (int c = 0; c < 4; ++c) of_vertex.values[c] = static_cast<T>(sum[4 * k + c]);
      add_atomically(grad_positions + 4 * vertex[k], of_vertex);
    }
  }
}

int64_t pixels_of(const AntialiasSize& s) { return s.images * s.height * s.width; }

constexpr int64_t kWalkBlocks = 2048;  // at most; the number of pairs is known on the device only

}  // namespace

int64_t antialias_cuda_scratch(const AntialiasSize& size) {
  return 2 * (size.vertices + 1) * static_cast<int64_t>(sizeof(Point)) +
         (1 + 2 * pixels_of(size)) * static_cast<int64_t>(sizeof(Walk));
}

template <class T>
void antialias_cuda(const T* color, const T* rast, const T* positions, const int32_t* faces, const int32_t* neighbors,
                    const AntialiasSize& size, void* scratch, T* out, int32_t* slots, T* blends, cudaStream_t stream) {
  if (pixels_of(size) == 0) return;
  auto* points = static_cast<Point*>(scratch);
  auto* list = reinterpret_cast<Walk*>(points + 2 * (size.vertices + 1)) + 1;
  uint32_t* walks = &list[-1].place;  // their number
  const Image image(size);
  const unsigned blocks = blocks_for(pixels_of(size));
  const auto walking = static_cast<unsigned>(blocks < kWalkBlocks ? blocks : kWalkBlocks);
  project_kernel<<<blocks_for(size.vertices + 1), kBlock, 0, stream>>>(positions, size, points);
  cudaMemsetAsync(walks, 0, sizeof(*walks), stream);
  list_kernel<<<blocks, kBlock, 0, stream>>>(rast, image, slots, blends, walks, list);
  walk_kernel<<<walking, kBlock, 0, stream>>>(points, points + size.vertices + 1, faces, neighbors, image, walks, list,
                                              slots, blends);
  cudaMemcpyAsync(out, color, pixels_of(size) * size.channels * sizeof(T), cudaMemcpyDeviceToDevice, stream);
  gather_kernel<T, false><<<blocks, kBlock, 0, stream>>>(color, slots, blends, image, out);
}

template <class T>
void antialias_backward_cuda(const T* grad, const T* color, const T* positions, const int32_t* faces, const int32_t* slots,
                             const T* blends, const AntialiasSize& size, T* grad_color, T* grad_positions,
                             cudaStream_t stream) {
  if (pixels_of(size) == 0) return;
  const Image image(size);
  const unsigned blocks = blocks_for(pixels_of(size));
  cudaMemcpyAsync(grad_color, grad, pixels_of(size) * size.channels * sizeof(T), cudaMemcpyDeviceToDevice, stream);
  gather_kernel<T, true><<<blocks, kBlock, 0, stream>>>(grad, slots, blends, image, grad_color);
  if (grad_positions == nullptr) return;
  positions_kernel<<<blocks, kBlock, 0, stream>>>(grad, color, positions, faces, slots, blends, image, grad_positions);
}

#define TETRAGAN_INSTANTIATE(T)                                                                                          \
  template void antialias_cuda(const T*, const T*, const T*, const int32_t*, const int32_t*, const AntialiasSize&, void*, \
                               T*, int32_t*, T*, cudaStream_t);                                                          \
  template void antialias_backward_cuda(const T*, const T*, const T*, const int32_t*, const int32_t*, const T*,          \
                                        const AntialiasSize&, T*, T*, cudaStream_t);
TETRAGAN_INSTANTIATE(float)
TETRAGAN_INSTANTIATE(double)

}  // namespace tetragan
