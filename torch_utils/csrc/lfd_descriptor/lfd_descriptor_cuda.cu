// CUDA kernels of `lfd_descriptor`: a block owns a view. Its lanes share the words of the bit images, the table and the sums; only
// the walk along the contour is one lane's. The views of a mesh are described side by side, so that the walks overlap.
//
// Bits and whole numbers are those of the CPU kernel, and so are the region's sums, which add in the same order. Deterministic.
#include "common/cuda_launch.h"
#include "lfd_descriptor/lfd_descriptor.h"
#include "lfd_descriptor/lfd_descriptor_cuda.h"

namespace tetragan {
namespace {

using namespace lfd;

constexpr int kThreads = 288;  // a partial sum of a coefficient each, in whole warps
constexpr int kWarps = kThreads / 32;
static_assert(kThreads >= kRegionCoefficients * kParts);
constexpr int kPixels = 1024;  // of the contour that are kept at a time
using Sum = unsigned long long;

// for (index = this lane's words of an image)
#define TETRAGAN_EACH_WORD(index, image) \
  for (int32_t index = threadIdx.x; index < (image).side * (image).words(); index += kThreads)

// -- measures ----------------------------------------------------------------------------------------------------------

__device__ void add(int64_t* sum, int64_t value) { atomicAdd(reinterpret_cast<Sum*>(sum), static_cast<Sum>(value)); }

__device__ void widen(Shape& box, const Image& image, int32_t at, int32_t y) {
  const uint64_t bits = image.word(at, y);
  if (bits == 0) return;
  atomicMin(&box.low_x, 64 * at + lowest_bit(bits));
  atomicMax(&box.high_x, 64 * at + highest_bit(bits));
  atomicMin(&box.low_y, y);
  atomicMax(&box.high_y, y);
}

__device__ void add_moments(Shape& shape, const Image& image, int32_t at, int32_t y) {
  const uint64_t bits = image.word(at, y);
  if (bits == 0) return;
  const int64_t dy = 2 * y - (shape.low_y + shape.high_y), n = count_bits(bits);
  int64_t sum = 0, xx = 0, farthest = 0;
  for (uint64_t left = bits; left != 0; left &= left - 1) {
    const int64_t dx = 2 * (64 * at + lowest_bit(left)) - (shape.low_x + shape.high_x);
    sum += dx;
    xx += dx * dx;
    farthest = dx * dx + dy * dy > farthest ? dx * dx + dy * dy : farthest;
  }
  add(&shape.pixels, n);
  add(&shape.perimeter, count_bits(perimeter_bits(image, at, y)));
  add(&shape.xx, xx);
  add(&shape.yy, n * dy * dy);
  add(&shape.xy, sum * dy);
  atomicMax(reinterpret_cast<Sum*>(&shape.farthest), static_cast<Sum>(farthest));
}

// farthest: of each light field.
__global__ void measure_kernel(const uint64_t* images, int32_t side, int64_t views, Shape* shapes, Sum* farthest) {
  __shared__ Shape shape;
  const int64_t view = blockIdx.x;
  const Image image = {images + view * side * (side / 64), side};
  if (threadIdx.x == 0) shape = no_pixels();
  __syncthreads();
  TETRAGAN_EACH_WORD(i, image) widen(shape, image, i % image.words(), i / image.words());
  __syncthreads();
  TETRAGAN_EACH_WORD(i, image) add_moments(shape, image, i % image.words(), i / image.words());
  __syncthreads();
  if (threadIdx.x > 0) return;
  shapes[view] = shape;
  atomicMax(farthest + view / views, static_cast<Sum>(shape.farthest));
}

// -- region ------------------------------------------------------------------------------------------------------------

// Scratch of a block of region_kernel.
struct Table {
  double* weight;         // [101][101]
  Place *columns, *rows;  // [side]
};

constexpr int64_t kWeightBytes = kTable * kTable * sizeof(double);

TETRAGAN_HD int64_t table_bytes(int32_t side) { return kWeightBytes + 2 * side * static_cast<int64_t>(sizeof(Place)); }

__device__ Table table_of(char* scratch, int32_t side) {
  Table t;
  t.weight = reinterpret_cast<double*>(scratch);
  t.columns = reinterpret_cast<Place*>(scratch + kWeightBytes);
  t.rows = t.columns + side;
  return t;
}

// The weight that all pixels put on the cells of the table, a column for each lane. In a row, pixels of the column before come first,
// as on the CPU.
__device__ void weigh(const Image& image, const Shape& shape, const Table& t) {
  for (int32_t cell = threadIdx.x; cell < kTable; cell += kThreads) {
    TETRAGAN_ROLLED
    for (int32_t row = 0; row < kTable; ++row) t.weight[row * kTable + cell] = 0;
    int32_t begin = shape.low_x, end = shape.low_x;  // of the pixels that lie between this column and one beside it
    while (begin <= shape.high_x && t.columns[begin].cell < cell - 1) ++begin;
    for (end = begin; end <= shape.high_x && t.columns[end].cell <= cell;) ++end;
    for (int32_t y = shape.low_y; y <= shape.high_y; ++y) {
      double across = 0;
      for (int32_t x = begin; x < end; ++x) {
        if ((image.word(x >> 6, y) >> (x & 63) & 1) == 0) continue;
        across += t.columns[x].cell == cell ? 1 - t.columns[x].next : t.columns[x].next;
      }
      const Place place = t.rows[y];
      t.weight[place.cell * kTable + cell] += (1 - place.next) * across;
      t.weight[(place.cell + 1) * kTable + cell] += place.next * across;
    }
  }
}

// Also writes what the measures give, and the zeros of empty views.
__global__ void __launch_bounds__(kThreads)
    region_kernel(const uint64_t* images, const double* basis, DescriptorSize size, int64_t first, const Shape* shapes,
                  const Sum* farthest, char* scratch, uint8_t* out) {
  __shared__ double real[kRegionCoefficients][kParts], imaginary[kRegionCoefficients][kParts];
  const Table t = table_of(scratch + blockIdx.x * table_bytes(size.side), size.side);
  const int64_t view = first + blockIdx.x;
  const Shape shape = shapes[view];
  const Image image = {images + view * size.side * (size.side / 64), size.side};
  uint8_t* bytes = out + view * kDescriptorBytes;
  if (shape.pixels == 0) {
    if (threadIdx.x < kDescriptorBytes) bytes[threadIdx.x] = 0;
    return;
  }
  const double radius = radius_of(static_cast<int64_t>(farthest[view / size.views]));
  for (int32_t i = threadIdx.x; i < size.side; i += kThreads) {
    t.columns[i] = place_of(i - shape.center_x(), radius);
    t.rows[i] = place_of(i - shape.center_y(), radius);
  }
  __syncthreads();
  weigh(image, shape, t);
  __syncthreads();
  const int32_t k = threadIdx.x / kParts, part = threadIdx.x % kParts;
  if (k < kRegionCoefficients) {
    const double *cosine = basis + k * 2 * kTable * kTable, *sine = cosine + kTable * kTable;
    double re = 0, im = 0;
    for (int32_t cell = part; cell < kWhole; cell += kParts) {
      re += t.weight[cell] * cosine[cell];
      im += t.weight[cell] * sine[cell];
    }
    real[k][part] = re;
    imaginary[k][part] = im;
  }
  __syncthreads();
  if (threadIdx.x < kRegionCoefficients) {
    const double *cosine = basis + threadIdx.x * 2 * kTable * kTable, *sine = cosine + kTable * kTable;
    double re = t.weight[kWhole] * cosine[kWhole], im = t.weight[kWhole] * sine[kWhole];
    for (int32_t p = 0; p < kParts; ++p) {
      re += real[threadIdx.x][p];
      im += imaginary[threadIdx.x][p];
    }
    bytes[threadIdx.x] = to_byte(std::sqrt(re * re + im * im) / static_cast<double>(shape.pixels), 256);
  }
  if (threadIdx.x == 0) {
    bytes[kDescriptorBytes - 2] = to_byte(shape.circularity(), 256);
    bytes[kDescriptorBytes - 1] = to_byte(shape.eccentricity(), 256);
  }
}

// -- contour -----------------------------------------------------------------------------------------------------------

// Scratch of a block of contour_kernel: bit images.
struct Work {
  uint64_t *merged, *wall, *reached, *next;
};

TETRAGAN_HD int64_t work_bytes(int32_t side) { return 4 * (side / 8) * static_cast<int64_t>(side); }

__device__ Work work_of(char* scratch, int32_t side) {
  auto* words = reinterpret_cast<uint64_t*>(scratch);
  const int64_t count = side * static_cast<int64_t>(side / 64);
  return {words, words + count, words + 2 * count, words + 3 * count};
}

__device__ void swap(uint64_t*& a, uint64_t*& b) {
  uint64_t* t = a;
  a = b;
  b = t;
}

__device__ uint64_t border_bits(const Image& image, int32_t at, int32_t y) {
  if (y == 0 || y + 1 == image.side) return ~uint64_t{0};
  return (at == 0 ? 1 : 0) | (at + 1 == image.words() ? uint64_t{1} << 63 : 0);
}

// Traces the contour of `image`, and floods what it does not enclose, one step a round. `length` gets the contour's.
__device__ bool is_whole(const Image& image, int32_t first_row, Work& w, int64_t* length) {
  __shared__ Sum pixels, outside;
  const int32_t words = image.words();
  TETRAGAN_EACH_WORD(i, image) w.wall[i] = 0;
  if (threadIdx.x == 0) pixels = outside = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    Tracer tracer(image, first_pixel(image, first_row));
    do w.wall[tracer.at.y * words + (tracer.at.x >> 6)] |= uint64_t{1} << (tracer.at.x & 63);
    while (tracer.next(image));
    *length = tracer.count;
  }
  __syncthreads();
  TETRAGAN_EACH_WORD(i, image) w.reached[i] = border_bits(image, i % words, i / words) & ~w.wall[i];
  __syncthreads();
  bool changed;
  do {
    changed = false;
    const Image from = {w.reached, image.side};
    TETRAGAN_EACH_WORD(i, image) {
      const int32_t at = i % words, y = i / words;
      const uint64_t beside = from.left(at, y) | from.right(at, y) | from.word(at, y - 1) | from.word(at, y + 1);
      w.next[i] = w.reached[i] | (beside & ~w.wall[i]);
      changed = changed || w.next[i] != w.reached[i];
    }
    swap(w.reached, w.next);
  } while (__syncthreads_or(changed));
  Sum here = 0, here_outside = 0;
  TETRAGAN_EACH_WORD(i, image) {
    here += count_bits(image.rows[i]);
    here_outside += count_bits(image.rows[i] & w.reached[i]);
  }
  atomicAdd(&pixels, here);
  atomicAdd(&outside, here_outside);
  __syncthreads();
  const bool whole = encloses(static_cast<int64_t>(pixels), static_cast<int64_t>(outside));
  __syncthreads();
  return whole;
}

// Thins w.merged to lines, keeping every pixel of `original`.
__device__ void thin(const Image& original, Work& w) {
  const int32_t words = original.words();
  bool changed;
  do {
    changed = false;
    TETRAGAN_ROLLED
    for (int32_t pass = 0; pass < 4; ++pass) {
      TETRAGAN_EACH_WORD(i, original) {
        const uint64_t gone = thinned_bits({w.merged, original.side}, original, i % words, i / words, pass);
        w.next[i] = w.merged[i] & ~gone;
        changed = changed || gone != 0;
      }
      __syncthreads();
      swap(w.merged, w.next);
    }
  } while (__syncthreads_or(changed));
}

// The image whose contour describes the view, and the contour's length. Several components are merged in w.merged: dilated once,
// twice, or replaced by their filled box, until they count as one.
__device__ Image merged(const Image& image, const Shape& shape, int32_t first_row, Work& w, int64_t* length) {
  const int32_t words = image.words();
  Image out = image;
  TETRAGAN_ROLLED
  for (int32_t stage = 0; stage < 3 && !is_whole(out, first_row, w, length); ++stage) {
    TETRAGAN_EACH_WORD(i, image) {
      const int32_t at = i % words, y = i / words;
      w.next[i] = stage < 2 ? dilated_bits(out, at, y, 1 + stage, stage == 1) : box_bits(shape, at, y);
    }
    __syncthreads();
    swap(w.merged, w.next);
    out.rows = w.merged;
  }
  if (out.rows == image.rows) return out;
  thin(image, w);
  out.rows = w.merged;
  if (threadIdx.x == 0) {
    Tracer tracer(out, first_pixel(out, first_row));
    while (tracer.next(out)) {
    }
    *length = tracer.count;
  }
  __syncthreads();
  return out;
}

// Sums over the contour: of the distances to the center, and of their products with the cosines and sines of each coefficient.
struct Spectrum {
  double mean, real[kContourCoefficients], imaginary[kContourCoefficients];
};
constexpr int kSums = 1 + 2 * kContourCoefficients;

__device__ void add_pixel(Spectrum& sums, const Shape& shape, Pixel pixel, int64_t index, int64_t length) {
  const double dx = pixel.x - shape.center_x(), dy = pixel.y - shape.center_y(), distance = std::sqrt(dx * dx + dy * dy);
  sums.mean += distance;
  double sine, cosine, x = distance, y = 0;  // the distance, turned by the angle once more for each coefficient
  sincos(2 * kPi * static_cast<double>(index) / static_cast<double>(length), &sine, &cosine);
  for (int32_t k = 0; k < kContourCoefficients; ++k) {
    const double turned = x * cosine - y * sine;
    y = x * sine + y * cosine;
    x = turned;
    sums.real[k] += x;
    sums.imaginary[k] -= y;
  }
}

__device__ void transform(const Image& image, const Shape& shape, int32_t first_row, int64_t length, uint8_t* out) {
  __shared__ Pixel path[kPixels];
  __shared__ double totals[kWarps][kSums];
  Tracer tracer(image, first_pixel(image, first_row));  // the first lane's is used
  Spectrum sums = {};
  for (int64_t first = 0; first < length; first += kPixels) {
    const int32_t count = static_cast<int32_t>(length - first < kPixels ? length - first : kPixels);
    if (threadIdx.x == 0) {
      for (int32_t i = 0; i < count; ++i) {
        path[i] = tracer.at;
        tracer.next(image);
      }
    }
    __syncthreads();
    for (int32_t i = threadIdx.x; i < count; i += kThreads) add_pixel(sums, shape, path[i], first + i, length);
    __syncthreads();
  }
  for (int32_t k = 0; k < kSums; ++k) {
    double sum = k == 0 ? sums.mean : k <= kContourCoefficients ? sums.real[k - 1] : sums.imaginary[k - 1 - kContourCoefficients];
    for (int32_t by = 16; by > 0; by /= 2) sum += __shfl_down_sync(0xffffffffu, sum, by);
    if (threadIdx.x % 32 == 0) totals[threadIdx.x / 32][k] = sum;
  }
  __syncthreads();
  if (threadIdx.x >= kContourCoefficients) return;
  double mean = 0, re = 0, im = 0;
  for (int32_t warp = 0; warp < kWarps; ++warp) {
    mean += totals[warp][0];
    re += totals[warp][1 + threadIdx.x];
    im += totals[warp][1 + kContourCoefficients + threadIdx.x];
  }
  out[threadIdx.x] = length < 8 ? 0 : to_byte(std::sqrt(re * re + im * im) / mean, 512);
}

__global__ void __launch_bounds__(kThreads)
    contour_kernel(const uint64_t* images, DescriptorSize size, int64_t first, const Shape* shapes, char* scratch, uint8_t* out) {
  __shared__ int64_t length;
  const int64_t view = first + blockIdx.x;
  const Shape shape = shapes[view];
  if (shape.pixels == 0) return;
  Work w = work_of(scratch + blockIdx.x * work_bytes(size.side), size.side);
  const Image image = {images + view * size.side * (size.side / 64), size.side};
  const int32_t first_row = shape.low_y > kMergedReach ? shape.low_y - kMergedReach : 0;
  const Image contoured = merged(image, shape, first_row, w, &length);
  transform(contoured, shape, first_row, length, out + view * kDescriptorBytes + kRegionCoefficients);
}

int64_t blocks_of(const DescriptorSize& size) {
  return size.fields * size.views < kViewsAtOnce ? size.fields * size.views : kViewsAtOnce;
}

}  // namespace

int64_t lfd_descriptor_cuda_scratch(const DescriptorSize& size) {
  return size.fields * size.views * static_cast<int64_t>(sizeof(Shape)) + size.fields * static_cast<int64_t>(sizeof(Sum)) +
         blocks_of(size) * (table_bytes(size.side) + work_bytes(size.side));
}

void lfd_descriptor_cuda(const uint64_t* images, const double* basis, const DescriptorSize& size, void* scratch, uint8_t* out,
                         cudaStream_t stream) {
  const int64_t count = size.fields * size.views;
  if (count == 0) return;
  auto* shapes = static_cast<Shape*>(scratch);
  auto* farthest = reinterpret_cast<Sum*>(shapes + count);
  char* tables = reinterpret_cast<char*>(farthest + size.fields);
  char* work = tables + blocks_of(size) * table_bytes(size.side);
  cudaMemsetAsync(farthest, 0, size.fields * sizeof(Sum), stream);
  measure_kernel<<<static_cast<unsigned>(count), kThreads, 0, stream>>>(images, size.side, size.views, shapes, farthest);
  for (int64_t first = 0; first < count; first += kViewsAtOnce) {
    const auto blocks = static_cast<unsigned>(count - first < kViewsAtOnce ? count - first : kViewsAtOnce);
    region_kernel<<<blocks, kThreads, 0, stream>>>(images, basis, size, first, shapes, farthest, tables, out);
    contour_kernel<<<blocks, kThreads, 0, stream>>>(images, size, first, shapes, work, out);
  }
}

}  // namespace tetragan
