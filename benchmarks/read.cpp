// benchmark_read SHARDS ROUNDS
//
// Prints, for each round, the MB/s of two threads that read every image of a shard folder through ShardSet, checksums
// verified as in training; the MB/s of two threads that pread the same bytes into one buffer each, nothing checked; and
// the same into new memory for each image, which shows what of a gap is memory and what is checksums.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/files.h"
#include "shards/hdf5_handles.h"
#include "shards/shard_set.h"

using namespace pixelbert;

namespace {

struct Extent {
  int fd;
  std::int64_t offset;  // in the file
  std::size_t length;
};

template <class T>
std::vector<T> read_column(hid_t file, const char* name, std::int64_t size) {
  std::vector<T> values(static_cast<std::size_t>(size));
  const shards::Dataset dataset(shards::check_hdf5(H5Dopen2(file, name, H5P_DEFAULT), name));
  shards::check_hdf5(
      H5Dread(dataset.get(), shards::Hdf5Number<T>::native(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), name);
  return values;
}

void append_extents(const std::filesystem::path& path, std::int64_t images, int fd, std::vector<Extent>& extents) {
  const shards::File file(shards::check_hdf5(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), path.string()));
  const shards::Dataset bytes(shards::check_hdf5(H5Dopen2(file.get(), "images/bytes", H5P_DEFAULT), path.string()));
  const auto start = static_cast<std::int64_t>(H5Dget_offset(bytes.get()));
  const auto offsets = read_column<std::int64_t>(file.get(), "images/offset", images);
  const auto lengths = read_column<std::uint32_t>(file.get(), "images/length", images);
  for (std::size_t i = 0; i < offsets.size(); ++i) extents.push_back({fd, start + offsets[i], lengths[i]});
}

using Visit = std::function<void(std::size_t first, std::size_t last)>;

// Seconds in which two threads visit the two halves of `count` rows.
double seconds_of(std::size_t count, const Visit& visit) {
  const auto start = std::chrono::steady_clock::now();
  {
    const std::jthread other(visit, 0, count / 2);
    visit(count / 2, count);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  PB_CHECK(argc == 3, "see benchmarks/read.cpp for the arguments");
  const shards::ShardSet set(argv[1]);
  std::vector<FileDescriptor> open_files;
  std::vector<Extent> extents;
  for (const shards::ShardFile& file : set.manifest().files) {
    open_files.push_back(open_for_reading(set.folder() / file.name));
    append_extents(set.folder() / file.name, file.images, open_files.back().get(), extents);
  }
  std::size_t bytes = 0, longest = 0;
  for (const Extent& extent : extents) {
    bytes += extent.length;
    longest = std::max(longest, extent.length);
  }

  const auto by_shard_set = [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
      const shards::Bytes image = set.image(static_cast<std::int64_t>(row));
      PB_CHECK(image.size() == extents[row].length, "image {} has another length", row);
    }
  };
  const auto pread_into = [](shards::Bytes& buffer, const Extent& extent) {
    const ssize_t read = ::pread(extent.fd, buffer.data(), extent.length, extent.offset);
    PB_CHECK(read == static_cast<ssize_t>(extent.length), "expected {} bytes, pread gave {}", extent.length, read);
  };
  const auto by_pread = [&](std::size_t first, std::size_t last) {
    shards::Bytes buffer(longest);
    for (std::size_t row = first; row < last; ++row) pread_into(buffer, extents[row]);
  };
  const auto by_pread_into_new = [&](std::size_t first, std::size_t last) {
    for (std::size_t row = first; row < last; ++row) {
      shards::Bytes buffer(extents[row].length);
      pread_into(buffer, extents[row]);
    }
  };
  seconds_of(extents.size(), by_pread);  // fills the page cache
  seconds_of(extents.size(), by_shard_set);
  const double megabytes = static_cast<double>(bytes) / 1e6;
  for (int round = 0; round < std::stoi(argv[2]); ++round) {
    for (const auto& visit : {Visit(by_shard_set), Visit(by_pread), Visit(by_pread_into_new)}) {
      std::printf("%.1f ", megabytes / seconds_of(extents.size(), visit));
    }
    std::printf("\n");
  }
}
