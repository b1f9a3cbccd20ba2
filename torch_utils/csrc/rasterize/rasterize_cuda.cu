// CUDA kernels of `rasterize`: a z-buffer filled by atomic minimum, which is deterministic, then one thread per pixel for the
// weights. A float32 depth and the id share a 64-bit key, so that of equal depths the lowest id wins. A float64 depth fills the
// key, and the triangles are drawn again for the lowest id at that depth.
//
// A group of lanes draws a triangle, one row each. Triangles with a large box go to a list instead, which a second kernel
// draws with one block each.
#include "common/cuda_launch.h"
#include "common/cuda_vector.h"
#include "rasterize/rasterize.h"
#include "rasterize/rasterize_cuda.h"

namespace tetragan {
namespace {

using raster::ClipVertex;
using raster::ScreenVertex;
using raster::Spans;

constexpr int kLanes = 8;
constexpr int64_t kLargeBox = 4096;  // pixels
constexpr unsigned kLargeBlocks = 512;
constexpr unsigned long long kEmpty = ~0ull;

// Floats ordered as unsigned integers; −0 counts as 0.
__device__ uint32_t ordered_bits(float depth) {
  const uint32_t bits = __float_as_uint(depth + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ unsigned long long ordered_bits(double depth) {
  const unsigned long long bits = static_cast<unsigned long long>(__double_as_longlong(depth + 0.0)), sign = 1ull << 63;
  return bits & sign ? ~bits : bits | sign;
}

__device__ void read_depth(unsigned long long key, float& depth) {
  const uint32_t bits = static_cast<uint32_t>(key >> 32);
  depth = __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

__device__ void read_depth(unsigned long long key, double& depth) {
  const unsigned long long sign = 1ull << 63, bits = key & sign ? key & ~sign : ~key;
  depth = __longlong_as_double(static_cast<long long>(bits));
}

template <class T>
struct Scene {
  const T* positions;
  const int32_t* faces;
  const int64_t* face_offsets;
  const T* previous;
  RasterSize size;
  const ScreenVertex* screen;
  unsigned long long* keys;
  uint32_t* ids;    // of float64 input: the lowest id at each pixel's depth, else null
  bool finds_ids;   // the second drawing
  int32_t* large;  // [0]: how many, then the faces
};

template <class T>
__device__ ClipVertex load_vertex(const T* positions, int64_t index) {
  const Pack<T, 4> p = load_pack<4>(positions + 4 * index);
  return {static_cast<double>(p.values[0]), static_cast<double>(p.values[1]), static_cast<double>(p.values[2]),
          static_cast<double>(p.values[3])};
}

template <class T>
__device__ void load_face(const T* positions, const int32_t* face, ClipVertex* out) {
  for (int k = 0; k < 3; ++k) out[k] = load_vertex(positions, face[k]);
}

// What the centers of an image's pixels are computed from.
struct Image {
  uint32_t pixels;  // of all images
  PixelGrid grid;
  CenterNdc columns, rows;
  raster::PixelSize size;

  explicit Image(const RasterSize& s)
      : pixels(static_cast<uint32_t>(s.images * s.height * s.width)),
        grid(s.height, s.width),
        columns(s.width),
        rows(s.height),
        size(raster::pixel_size(s.height, s.width)) {}

  __device__ raster::Center center(uint32_t pixel) const {
    int32_t row, column;
    grid.locate(pixel, row, column);
    return {columns.at(column), rows.at(row)};
  }
};

template <class T>
__global__ void project_kernel(Scene<T> s, ScreenVertex* screen) {
  TETRAGAN_EACH(i, s.size.vertices) {
    screen[i] = raster::project(load_vertex(s.positions, i), s.size.height, s.size.width);
  }
}

template <class T>
__device__ void draw_pixel(const Scene<T>& s, const Spans& t, double of_row, int64_t image, int32_t row, int32_t column,
                           int32_t id) {
  const T z = static_cast<T>(raster::depth_at(t, of_row, column));
  if (!(z <= 1)) return;
  const int64_t pixel = (image * s.size.height + row) * s.size.width + column;
  if (s.previous != nullptr) {
    const T front = s.previous[4 * pixel + 2];
    const T front_id = s.previous[4 * pixel + 3];
    if (!(front_id > 0 && (z > front || (z == front && static_cast<T>(id) > front_id)))) return;
  }
  unsigned long long key = ordered_bits(z);
  if constexpr (sizeof(T) == 4) key = key << 32 | static_cast<uint32_t>(id);
  if (s.finds_ids) {
    if (key == s.keys[pixel]) atomicMin(s.ids + pixel, static_cast<uint32_t>(id));
  } else if (key < load_relaxed(s.keys + pixel)) {
    atomicMin(s.keys + pixel, key);
  }
}

// The pieces of a face on the screen: 1, after clipping up to 3, or none. False for faces with bad ids or vertices.
template <class T>
__device__ int pieces_of(const Scene<T>& s, int64_t face, ScreenVertex* corners) {
  const int32_t* f = s.faces + 3 * face;
  for (int k = 0; k < 3; ++k) {
    if (f[k] < 0 || f[k] >= s.size.vertices) return 0;
  }
  for (int k = 0; k < 3; ++k) corners[k] = s.screen[f[k]];
  const int32_t codes = corners[0].code | corners[1].code | corners[2].code;
  if (codes & raster::kBad) return 0;
  if (codes == raster::kVisible) return 3;
  ClipVertex triangle[3], polygon[5];
  load_face(s.positions, f, triangle);
  const int count = raster::clip(triangle, polygon);
  for (int k = 0; k < count; ++k) corners[k] = raster::project(polygon[k], s.size.height, s.size.width);
  return count;
}

template <class T>
__global__ void draw_small_kernel(Scene<T> s) {
  const int lane = threadIdx.x % kLanes;
  TETRAGAN_EACH(thread, s.size.faces * kLanes) {
    const int64_t face = thread / kLanes;
    if (face < s.face_offsets[0] || face >= s.face_offsets[s.size.images]) continue;
    ScreenVertex corners[5];
    const int count = pieces_of(s, face, corners);
    bool large = false;
    for (int pass = 0; pass < 2 && !large; ++pass) {  // classify, then draw: a face is either drawn here or listed
      for (int k = 2; k < count; ++k) {
        Spans t;
        if (!raster::prepare(corners[0], corners[k - 1], corners[k], s.size.height, s.size.width, t)) continue;
        if (pass == 0) {
          const double low = fmax(0.0, fmin(corners[0].x, fmin(corners[k - 1].x, corners[k].x)));
          const double high = fmin(static_cast<double>(s.size.width), fmax(corners[0].x, fmax(corners[k - 1].x, corners[k].x)));
          large |= (high - low) * (t.row_end - t.row_begin) > kLargeBox;
          continue;
        }
        const int64_t image = range_of(s.face_offsets, static_cast<int32_t>(s.size.images), face);
        for (int32_t row = t.row_begin + lane; row < t.row_end; row += kLanes) {
          int32_t begin, end;
          raster::span(t, row, s.size.width, begin, end);
          const double of_row = raster::row_depth(t, row);
          for (int32_t column = begin; column < end; ++column) {
            draw_pixel(s, t, of_row, image, row, column, static_cast<int32_t>(face + 1));
          }
        }
      }
    }
    if (large && lane == 0) s.large[1 + atomicAdd(s.large, 1)] = static_cast<int32_t>(face);
  }
}

// A block draws a listed face: one warp per row, one lane per column.
template <class T>
__global__ void draw_large_kernel(Scene<T> s) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int32_t listed = s.large[0];
  for (int32_t item = blockIdx.x; item < listed; item += gridDim.x) {
    const int64_t face = s.large[1 + item];
    const int64_t image = range_of(s.face_offsets, static_cast<int32_t>(s.size.images), face);
    ScreenVertex corners[5];
    const int count = pieces_of(s, face, corners);
    for (int k = 2; k < count; ++k) {
      Spans t;
      if (!raster::prepare(corners[0], corners[k - 1], corners[k], s.size.height, s.size.width, t)) continue;
      for (int32_t row = t.row_begin + warp; row < t.row_end; row += warps) {
        int32_t begin, end;
        raster::span(t, row, s.size.width, begin, end);
        const double of_row = raster::row_depth(t, row);
        for (int32_t column = begin + lane; column < end; column += 32) {
          draw_pixel(s, t, of_row, image, row, column, static_cast<int32_t>(face + 1));
        }
      }
    }
  }
}

template <class T, bool kDerivatives>
__global__ void resolve_kernel(const T* positions, const int32_t* faces, const unsigned long long* keys, const uint32_t* ids,
                               Image image, T* rast, T* rast_db) {
  const uint32_t pixel = thread_index();
  if (pixel >= image.pixels) return;
  const unsigned long long key = keys[pixel];
  Pack<T, 4> values = {}, derivatives = {};
  if (key != kEmpty) {
    const uint32_t id = sizeof(T) == 8 ? ids[pixel] : static_cast<uint32_t>(key);
    ClipVertex p[3];
    load_face(positions, faces + 3 * static_cast<int64_t>(id - 1), p);
    raster::Weights w = raster::weights_at(p, image.center(pixel));
    values.values[0] = static_cast<T>(w.u);
    values.values[1] = static_cast<T>(w.v);
    read_depth(key, values.values[2]);
    values.values[3] = static_cast<T>(id);
    if constexpr (kDerivatives) {
      double db[4];
      raster::derivatives_at(w, image.size, db);
      for (int k = 0; k < 4; ++k) derivatives.values[k] = static_cast<T>(db[k]);
    }
  }
  store_pack(rast + 4 * static_cast<int64_t>(pixel), values);
  if constexpr (kDerivatives) store_pack(rast_db + 4 * static_cast<int64_t>(pixel), derivatives);
}

template <class T, bool kDerivatives>
__global__ void backward_kernel(const T* grad_rast, const T* grad_db, const T* positions, const int32_t* faces,
                                int32_t num_faces, const T* rast, Image image, T* grad_positions) {
  const uint32_t pixel = thread_index();
  if (pixel >= image.pixels) return;
  const int64_t first = 4 * static_cast<int64_t>(pixel);
  const int64_t id = device_face_id(rast[first + 3], num_faces);
  if (id == 0) return;
  const Pack<T, 4> of_values = load_pack<4>(grad_rast + first);
  double of_rast[3], of_db[4], sum[12];
  bool any = false;
  for (int k = 0; k < 3; ++k) any |= (of_rast[k] = of_values.values[k]) != 0;
  if constexpr (kDerivatives) {
    const Pack<T, 4> of_derivatives = load_pack<4>(grad_db + first);
    for (int k = 0; k < 4; ++k) any |= (of_db[k] = of_derivatives.values[k]) != 0;
  }
  if (!any) return;
  const int32_t* face = faces + 3 * (id - 1);
  ClipVertex p[3];
  load_face(positions, face, p);
  raster::pixel_gradient<kDerivatives>(p, image.center(pixel), image.size, of_rast, of_db, sum);
  for (int k = 0; k < 3; ++k) {
    Pack<T, 4> of_vertex;
    for (int c = 0; c < 4; ++c) of_vertex.values[c] = static_cast<T>(sum[4 * k + c]);
    add_atomically(grad_positions + 4 * static_cast<int64_t>(face[k]), of_vertex);
  }
}

int64_t pixels_of(const RasterSize& size) { return size.images * size.height * size.width; }
int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

int64_t rasterize_cuda_scratch(const RasterSize& size, bool wide) {
  return aligned(8 * pixels_of(size)) + aligned(static_cast<int64_t>(sizeof(ScreenVertex)) * size.vertices) +
         aligned(4 * (size.faces + 1)) + (wide ? aligned(4 * pixels_of(size)) : 0);
}

template <class T>
void rasterize_cuda(const T* positions, const int32_t* faces, const int64_t* face_offsets, const T* previous,
                    const RasterSize& size, void* scratch, T* rast, T* rast_db, cudaStream_t stream) {
  if (pixels_of(size) == 0) return;
  char* memory = static_cast<char*>(scratch);
  auto* keys = reinterpret_cast<unsigned long long*>(memory);
  memory += aligned(8 * pixels_of(size));
  auto* screen = reinterpret_cast<ScreenVertex*>(memory);
  memory += aligned(static_cast<int64_t>(sizeof(ScreenVertex)) * size.vertices);
  auto* large = reinterpret_cast<int32_t*>(memory);
  memory += aligned(4 * (size.faces + 1));
  auto* ids = sizeof(T) == 8 ? reinterpret_cast<uint32_t*>(memory) : nullptr;
  Scene<T> s{positions, faces, face_offsets, previous, size, screen, keys, ids, false, large};
  cudaMemsetAsync(keys, 0xff, 8 * pixels_of(size), stream);
  if (ids != nullptr) cudaMemsetAsync(ids, 0xff, 4 * pixels_of(size), stream);
  if (size.vertices > 0 && size.faces > 0) {
    project_kernel<<<blocks_for(size.vertices), kBlock, 0, stream>>>(s, screen);
    for (int drawing = 0; drawing < (ids != nullptr ? 2 : 1); ++drawing) {
      s.finds_ids = drawing == 1;
      cudaMemsetAsync(large, 0, 4, stream);
      draw_small_kernel<<<blocks_for(size.faces * kLanes), kBlock, 0, stream>>>(s);
      draw_large_kernel<<<kLargeBlocks, kBlock, 0, stream>>>(s);
    }
  }
  const auto resolve = rast_db != nullptr ? &resolve_kernel<T, true> : &resolve_kernel<T, false>;
  resolve<<<blocks_for(pixels_of(size)), kBlock, 0, stream>>>(positions, faces, keys, ids, Image(size), rast, rast_db);
}

template <class T>
void rasterize_backward_cuda(const T* grad_rast, const T* grad_db, const T* positions, const int32_t* faces, const T* rast,
                             const RasterSize& size, T* grad_positions, cudaStream_t stream) {
  if (pixels_of(size) == 0 || size.faces == 0) return;
  const auto backward = grad_db != nullptr ? &backward_kernel<T, true> : &backward_kernel<T, false>;
  backward<<<blocks_for(pixels_of(size)), kBlock, 0, stream>>>(grad_rast, grad_db, positions, faces,
                                                               static_cast<int32_t>(size.faces), rast, Image(size),
                                                               grad_positions);
}

template void rasterize_cuda(const float*, const int32_t*, const int64_t*, const float*, const RasterSize&, void*, float*,
                             float*, cudaStream_t);
template void rasterize_cuda(const double*, const int32_t*, const int64_t*, const double*, const RasterSize&, void*, double*,
                             double*, cudaStream_t);
template void rasterize_backward_cuda(const float*, const float*, const float*, const int32_t*, const float*,
                                      const RasterSize&, float*, cudaStream_t);
template void rasterize_backward_cuda(const double*, const double*, const double*, const int32_t*, const double*,
                                      const RasterSize&, double*, cudaStream_t);

}  // namespace tetragan
