#include "checkpoint/safetensors.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/activity.h"
#include "core/check.h"
#include "core/files.h"

namespace pixelbert::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored as they lie in memory");

using nlohmann::json;

constexpr const char* kMetadata = "__metadata__";
constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation refuses more

constexpr std::array<std::pair<const char*, torch::Dtype>, 10> kDtypes = {{{"F64", torch::kFloat64},
                                                                           {"F32", torch::kFloat32},
                                                                           {"F16", torch::kFloat16},
                                                                           {"BF16", torch::kBFloat16},
                                                                           {"I64", torch::kInt64},
                                                                           {"I32", torch::kInt32},
                                                                           {"I16", torch::kInt16},
                                                                           {"I8", torch::kInt8},
                                                                           {"U8", torch::kUInt8},
                                                                           {"BOOL", torch::kBool}}};

std::int64_t item_bytes(torch::Dtype dtype) {
  return static_cast<std::int64_t>(c10::elementSize(dtype));
}

// A new file that is digested while it is written.
class DigestedFile {
 public:
  explicit DigestedFile(const std::filesystem::path& path)
      : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    PB_CHECK(fd_, "cannot create {}: {}", path.string(), std::strerror(errno));
  }

  void write(std::span<const std::byte> bytes) {
    activity::doing("checkpoint", fmt::format("writing {}, byte {}", path_.native(), digest_.bytes));
    // Small enough to be in the cache still when write() copies what the checksum has just read.
    constexpr std::size_t kPiece = std::size_t{1} << 18;
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), kPiece))) {
      const auto piece = bytes.first(std::min(bytes.size(), kPiece));
      digest_.crc32c = crc32c(piece, digest_.crc32c);
      digest_.bytes += static_cast<std::int64_t>(piece.size());
      write_all(piece);
    }
  }

  Digest finish() {
    PB_CHECK(::fsync(fd_.get()) == 0, "cannot flush {}: {}", path_.string(), std::strerror(errno));
    return digest_;
  }

 private:
  void write_all(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      PB_CHECK(written > 0, "cannot write {}: {}", path_.string(), std::strerror(errno));
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  std::filesystem::path path_;
  FileDescriptor fd_;
  Digest digest_;
};

// pread until all of `bytes` is there.
void read_exactly(int fd, std::span<std::byte> bytes, std::int64_t offset, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    PB_CHECK(n >= 0, "cannot read {}: {}", path.string(), std::strerror(errno));
    PB_CHECK(n > 0, "{} ended at byte {} while it was read", path.string(), offset);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += n;
    activity::moved();
  }
}

// One entry of the header; offsets still count from the end of the header, as in the file.
TensorInfo parse_tensor(const std::string& name, const json& entry, const std::filesystem::path& path) {
  const auto where = [&] { return fmt::format("{}: tensor '{}'", path.string(), name); };
  PB_CHECK(entry.is_object() && entry.contains("dtype") && entry.contains("shape") && entry.contains("data_offsets"),
           "{}: expected dtype, shape and data_offsets, found {}", where(), entry.dump());

  const auto known =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& dtype) { return entry["dtype"] == dtype.first; });
  PB_CHECK(known != kDtypes.end(), "{} has dtype {}, which this program does not read", where(), entry["dtype"].dump());
  TensorInfo info{.name = name, .dtype = known->second, .shape = {}};

  std::int64_t bytes = item_bytes(info.dtype);
  bool shape_is_good = entry["shape"].is_array();
  for (const json& size : entry["shape"]) {
    shape_is_good =
        shape_is_good && size.is_number_unsigned() && !__builtin_mul_overflow(bytes, size.get<std::uint64_t>(), &bytes);
    if (!shape_is_good) break;
    info.shape.push_back(size);
  }
  PB_CHECK(shape_is_good, "{} has shape {}, expected a list of sizes", where(), entry["shape"].dump());

  const json& offsets = entry["data_offsets"];
  PB_CHECK(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() &&
               offsets[1].is_number_unsigned() && offsets[0] <= offsets[1],
           "{} has data_offsets {}, expected [begin, end]", where(), offsets.dump());
  info.begin = offsets[0];
  info.end = offsets[1];
  PB_CHECK(info.end - info.begin == bytes, "{} holds {} bytes, but {} {} needs {}", where(), info.end - info.begin,
           known->first, entry["shape"].dump(), bytes);
  return info;
}

struct Header {
  json entries;
  std::int64_t data_begin = 0, file_bytes = 0;
};

Header parse_header(int fd, const std::filesystem::path& path) {
  struct stat status{};
  PB_CHECK(::fstat(fd, &status) == 0, "cannot read {}: {}", path.string(), std::strerror(errno));
  const std::int64_t file_bytes = status.st_size;
  PB_CHECK(file_bytes >= kLengthBytes, "{} is {} bytes long: too short for a safetensors file", path.string(),
           file_bytes);
  std::uint64_t header_bytes = 0;
  read_exactly(fd, std::as_writable_bytes(std::span(&header_bytes, 1)), 0, path);
  PB_CHECK(header_bytes <= kMaxHeaderBytes && static_cast<std::int64_t>(header_bytes) <= file_bytes - kLengthBytes,
           "{} is not a whole safetensors file: its header would be {} bytes, the file is {}", path.string(),
           header_bytes, file_bytes);
  std::string text(header_bytes, '\0');
  read_exactly(fd, std::as_writable_bytes(std::span(text)), kLengthBytes, path);

  json entries = json::parse(text, nullptr, /*allow_exceptions=*/false);
  PB_CHECK(entries.is_object(), "{} is not a safetensors file: its header is not a JSON object", path.string());
  return {std::move(entries), kLengthBytes + static_cast<std::int64_t>(header_bytes), file_bytes};
}

std::vector<TensorInfo> list(int fd, const std::filesystem::path& path) {
  const Header header = parse_header(fd, path);
  std::vector<TensorInfo> tensors;
  for (const auto& [name, entry] : header.entries.items()) {
    if (name != kMetadata) tensors.push_back(parse_tensor(name, entry, path));
  }
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });

  // Each tensor begins where the one before ended, and the last ends with the file.
  std::int64_t expected = 0;
  for (TensorInfo& info : tensors) {
    PB_CHECK(info.begin == expected, "{}: tensor '{}' begins at byte {} of the data, expected {}: {}", path.string(),
             info.name, info.begin, expected, info.begin < expected ? "it overlaps another" : "there is a hole");
    expected = info.end;
    info.begin += header.data_begin;
    info.end += header.data_begin;
  }
  PB_CHECK(header.data_begin + expected == header.file_bytes,
           "{} is {} bytes long, its header describes {}: it was cut or added to", path.string(), header.file_bytes,
           header.data_begin + expected);
  return tensors;
}

}  // namespace

Digest write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                         const std::map<std::string, std::string>& metadata) {
  // Widest items first, as the reference implementation does, so that every tensor is aligned.
  std::vector<const NamedTensors::value_type*> order;
  for (const auto& named : tensors) order.push_back(&named);
  std::stable_sort(order.begin(), order.end(),
                   [](auto* a, auto* b) { return a->second.element_size() > b->second.element_size(); });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::int64_t offset = 0;
  for (const auto* named : order) {
    const auto& [name, tensor] = *named;
    const auto dtype = std::find_if(kDtypes.begin(), kDtypes.end(),
                                    [&](const auto& known) { return known.second == tensor.scalar_type(); });
    PB_CHECK(dtype != kDtypes.end(), "cannot write {}: tensor '{}' has dtype {}, which safetensors does not hold",
             path.string(), name, c10::toString(tensor.scalar_type()));
    const std::int64_t end = offset + static_cast<std::int64_t>(tensor.nbytes());
    header[name] = {{"dtype", dtype->first}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t header_bytes = text.size();

  DigestedFile file(path);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(std::as_bytes(std::span(text)));
  for (const auto* named : order) {
    const torch::Tensor host = named->second.detach().cpu().contiguous();
    file.write({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()});
  }
  return file.finish();
}

NamedTensors read_safetensors(const std::filesystem::path& path) {
  const FileDescriptor fd = open_for_reading(path);
  NamedTensors tensors;
  // Read, not mapped: a file that shrinks or a disk that fails is an Error here, and would be a SIGBUS there.
  for (const TensorInfo& info : list(fd.get(), path)) {
    torch::Tensor tensor = at::empty(info.shape, info.dtype);
    read_exactly(fd.get(), {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()}, info.begin, path);
    tensors.emplace(info.name, std::move(tensor));
  }
  return tensors;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  const Header header = parse_header(open_for_reading(path).get(), path);
  const json entries = header.entries.value(kMetadata, json::object());
  std::map<std::string, std::string> metadata;
  for (const auto& [name, value] : entries.items()) {
    PB_CHECK(value.is_string(), "{}: metadata '{}' is {}, expected a string", path.string(), name, value.dump());
    metadata.emplace(name, value);
  }
  return metadata;
}

std::vector<TensorInfo> list_safetensors(const std::filesystem::path& path) {
  return list(open_for_reading(path).get(), path);
}

}  // namespace pixelbert::checkpoint
