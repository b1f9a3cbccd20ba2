// The table of common/grouped_rows.h on the device, for the CUDA bindings.
#pragma once
#include "common/grouped_rows.h"

namespace tetragan {
namespace grouped {

struct DeviceTable {
  Tensor memory;
  Table table;

  // offsets: row offsets [samples + 1] on the host. From pageable memory: returns once the few numbers are staged, without
  // waiting for the device.
  DeviceTable(const Tensor& like, const int64_t* offsets, int64_t samples, cudaStream_t stream)
      : memory(empty_like_of(like, {3 * (samples + 1)}, ScalarType::Long)) {
    const std::vector<int64_t> numbers = table_of(offsets, samples);
    cudaMemcpyAsync(memory.data_ptr(), numbers.data(), 8 * numbers.size(), cudaMemcpyHostToDevice, stream);
    table = {data<int64_t>(memory), static_cast<int32_t>(samples), numbers[2 * samples + 1], numbers[3 * samples + 2]};
  }
};

}  // namespace grouped
}  // namespace tetragan
