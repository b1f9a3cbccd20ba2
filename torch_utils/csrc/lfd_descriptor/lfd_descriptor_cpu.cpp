// `lfd_descriptor` on the CPU: region, contour, circularity and eccentricity of every view; a task owns one light field.
#include "common/cpu.h"
#include "lfd_descriptor/bits.h"

namespace tetragan {

namespace lfd {

namespace {

Bits read_bits(const uint8_t* bytes, int32_t side) {
  Bits image(side);
  for (size_t word = 0; word < image.rows.size(); ++word) {
    for (int byte = 0; byte < 8; ++byte) image.rows[word] |= static_cast<uint64_t>(bytes[8 * word + byte]) << (8 * byte);
  }
  return image;
}

Shape measure(const Bits& image, const std::vector<Run>& runs) {
  Shape shape = no_pixels();
  for (const Run& run : runs) {
    shape.low_x = std::min(shape.low_x, run.begin);
    shape.high_x = std::max(shape.high_x, run.end - 1);
    shape.low_y = std::min(shape.low_y, run.y);
    shape.high_y = std::max(shape.high_y, run.y);
  }
  const int64_t middle_x = shape.low_x + shape.high_x, middle_y = shape.low_y + shape.high_y;
  for (const Run& run : runs) {
    const int64_t dy = 2 * run.y - middle_y, n = run.end - run.begin;
    int64_t sum = 0;
    for (int64_t x = run.begin; x < run.end; ++x) {
      const int64_t dx = 2 * x - middle_x;
      sum += dx;
      shape.xx += dx * dx;
    }
    shape.pixels += n;
    shape.yy += n * dy * dy;
    shape.xy += sum * dy;
    for (const int64_t x : {static_cast<int64_t>(run.begin), static_cast<int64_t>(run.end - 1)}) {
      const int64_t dx = 2 * x - middle_x;
      shape.farthest = std::max(shape.farthest, dx * dx + dy * dy);
    }
  }
  for (int32_t y = std::min(shape.low_y, image.side); y <= shape.high_y; ++y) {
    for (int32_t word = 0; word < image.side / 64; ++word) {
      shape.perimeter += count_bits(perimeter_bits(image.view(), word, y));
    }
  }
  return shape;
}

// basis [35][2][101 · 101]: real and imaginary parts.
void region_coefficients(const std::vector<Run>& runs, const Shape& shape, double radius, const double* basis,
                         double* magnitudes) {
  // Sums over pixels of bilinear look-ups are sums over table cells of the weight that all pixels put on them.
  std::vector<double> weight(kTable * kTable, 0), across(kTable, 0);
  std::vector<Place> columns;
  for (int32_t x = shape.low_x; x <= shape.high_x; ++x) columns.push_back(place_of(x - shape.center_x(), radius));
  for (size_t i = 0; i < runs.size();) {
    const int32_t y = runs[i].y;
    std::fill(across.begin(), across.end(), 0.0);
    for (; i < runs.size() && runs[i].y == y; ++i) {
      for (int32_t x = runs[i].begin; x < runs[i].end; ++x) {
        const Place& place = columns[x - shape.low_x];
        across[place.cell] += 1 - place.next;
        across[place.cell + 1] += place.next;
      }
    }
    const Place place = place_of(y - shape.center_y(), radius);
    double *low = weight.data() + place.cell * kTable, *high = low + kTable;
    for (int x = 0; x < kTable; ++x) {
      low[x] += (1 - place.next) * across[x];
      high[x] += place.next * across[x];
    }
  }
  for (int k = 0; k < kRegionCoefficients; ++k) {
    const double *cosine = basis + static_cast<size_t>(k) * 2 * kTable * kTable, *sine = cosine + kTable * kTable;
    double real[kParts] = {}, imaginary[kParts] = {};
    for (int cell = 0; cell < kWhole; cell += kParts) {
      for (int part = 0; part < kParts; ++part) {
        real[part] += weight[cell + part] * cosine[cell + part];
        imaginary[part] += weight[cell + part] * sine[cell + part];
      }
    }
    double re = weight[kWhole] * cosine[kWhole], im = weight[kWhole] * sine[kWhole];
    for (int part = 0; part < kParts; ++part) {
      re += real[part];
      im += imaginary[part];
    }
    magnitudes[k] = std::sqrt(re * re + im * im) / static_cast<double>(shape.pixels);
  }
}

void contour_coefficients(const Bits& image, const Shape& shape, double* magnitudes) {
  std::fill(magnitudes, magnitudes + kContourCoefficients, 0.0);
  const std::vector<Pixel> contour = whole_contour(image, shape);
  const size_t count = contour.size();
  if (count < 8) return;
  std::vector<double> distance(count), cosine(count), sine(count);
  double mean = 0;
  for (size_t i = 0; i < count; ++i) {
    const double dx = contour[i].x - shape.center_x(), dy = contour[i].y - shape.center_y();
    distance[i] = std::sqrt(dx * dx + dy * dy);
    mean += distance[i];
    const double angle = 2 * kPi * static_cast<double>(i) / static_cast<double>(count);
    cosine[i] = std::cos(angle);
    sine[i] = std::sin(angle);
  }
  for (int k = 1; k <= kContourCoefficients; ++k) {
    double real = 0, imaginary = 0;
    size_t phase = 0;
    for (size_t i = 0; i < count; ++i) {
      real += distance[i] * cosine[phase];
      imaginary -= distance[i] * sine[phase];
      phase += static_cast<size_t>(k);
      if (phase >= count) phase %= count;
    }
    magnitudes[k - 1] = std::sqrt(real * real + imaginary * imaginary) / mean;
  }
}

void describe_view(const Bits& image, const std::vector<Run>& runs, const Shape& shape, double radius, const double* basis,
                   uint8_t* out) {
  std::fill(out, out + kDescriptorBytes, uint8_t{0});
  if (shape.pixels == 0) return;
  double values[kRegionCoefficients];
  region_coefficients(runs, shape, radius, basis, values);
  for (int k = 0; k < kRegionCoefficients; ++k) out[k] = to_byte(values[k], 256);
  contour_coefficients(image, shape, values);
  for (int k = 0; k < kContourCoefficients; ++k) out[kRegionCoefficients + k] = to_byte(values[k], 512);
  out[kRegionCoefficients + kContourCoefficients] = to_byte(shape.circularity(), 256);
  out[kRegionCoefficients + kContourCoefficients + 1] = to_byte(shape.eccentricity(), 256);
}

void describe_field(const uint8_t* silhouettes, int64_t views, int32_t side, const double* basis, uint8_t* out) {
  std::vector<Bits> images;
  std::vector<std::vector<Run>> runs;
  std::vector<Shape> shapes;
  int64_t farthest = 0;
  for (int64_t view = 0; view < views; ++view) {
    images.push_back(read_bits(silhouettes + view * side * side / 8, side));
    runs.push_back(runs_of(images.back()));
    shapes.push_back(measure(images.back(), runs.back()));
    farthest = std::max(farthest, shapes.back().farthest);
  }
  for (int64_t view = 0; view < views; ++view) {
    describe_view(images[view], runs[view], shapes[view], radius_of(farthest), basis, out + view * kDescriptorBytes);
  }
}

}  // namespace

}  // namespace lfd

namespace {

Tensor lfd_descriptor(const Tensor& silhouettes, const Tensor& basis) {
  const int64_t fields = silhouettes.size(0), views = silhouettes.size(1);
  const int32_t side = static_cast<int32_t>(silhouettes.size(2));
  Tensor result = empty_like_of(silhouettes, {fields, views, lfd::kDescriptorBytes});
  const uint8_t* images = data<uint8_t>(silhouettes);
  const double* table = data<double>(basis);
  uint8_t* out = mutable_data<uint8_t>(result);
  parallel_tasks(fields, [&](int64_t field) {
    lfd::describe_field(images + field * views * side * side / 8, views, side, table,
                        out + field * views * lfd::kDescriptorBytes);
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("lfd_descriptor", TORCH_BOX(&lfd_descriptor)); }

}  // namespace tetragan
