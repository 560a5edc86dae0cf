// Files that are not shards: of another program, damaged, or malicious. Each is refused with one line, and takes no
// more memory than it has bytes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/files.h"
#include "shards/shard_file.h"
#include "shards/shard_reader.h"
#include "tests/shards/records.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::shards {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class UntrustedHdf5 : public ::testing::Test {
 protected:
  // Makes a sound file, applies `change`, and expects that it is refused for this reason.
  template <class Change>
  void refused(const std::string& expected, Change change) {
    ShardFile file = write();
    file.columns.clear();
    {
      const Hdf5Lock lock;
      const File opened(check_hdf5(H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "test"));
      change(opened.get(), file);
    }
    file.bytes = static_cast<std::int64_t>(fs::file_size(path_));
    EXPECT_THAT([&] { ShardReader(path_, file); }, ThrowsMessage<Error>(AllOf(HasSubstr(path_), HasSubstr(expected))));
  }

  ShardFile write() const {
    std::vector<Record> records;
    for (std::int64_t i = 0; i < 6; ++i) records.push_back(test::record_number(i));
    return write_shard_file(path_, records);
  }

  // Replaces a data set by another one, of `rows` rows that take no space on the disk.
  static void replace(hid_t file, const char* name, hid_t type, hsize_t rows, hid_t creation = H5P_DEFAULT) {
    check_hdf5(H5Ldelete(file, name, H5P_DEFAULT), "test");
    const Dataspace space(H5Screate_simple(1, &rows, nullptr));
    const Dataset made(
        check_hdf5(H5Dcreate2(file, name, type, space.get(), H5P_DEFAULT, creation, H5P_DEFAULT), "test"));
  }

  static PropertyList chunked(hsize_t chunk) {
    PropertyList creation(H5Pcreate(H5P_DATASET_CREATE));
    check_hdf5(H5Pset_chunk(creation.get(), 1, &chunk), "test");
    return creation;
  }

  test::TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "shard-00000.h5";
};

TEST_F(UntrustedHdf5, AVersionThatIsNotOneWholeNumber) {
  const auto with_version = [](hid_t type, hid_t space) {
    return [=](hid_t file, ShardFile&) {
      H5Adelete(file, "pixelbert_shard_version");
      const Dataspace owned(space);
      const Attribute made(
          check_hdf5(H5Acreate2(file, "pixelbert_shard_version", type, owned.get(), H5P_DEFAULT, H5P_DEFAULT), "test"));
      const std::vector<char> zeros(8000);
      H5Awrite(made.get(), type, zeros.data());
    };
  };
  const hsize_t many = 1000, ten = 10;
  const std::string attribute = "attribute pixelbert_shard_version: expected ";
  const Hdf5Lock lock;
  refused(attribute + "one whole number, found 1000", with_version(H5T_STD_I64LE, H5Screate_simple(1, &many, nullptr)));
  refused(attribute + "one whole number, found 0", with_version(H5T_STD_I64LE, H5Screate(H5S_NULL)));
  refused(attribute + "whole numbers of up to 8 bytes", with_version(H5T_IEEE_F64LE, H5Screate(H5S_SCALAR)));
  const Datatype array(H5Tarray_create2(H5T_STD_I64LE, 1, &ten)), text(H5Tcopy(H5T_C_S1));
  refused(attribute + "whole numbers of up to 8 bytes", with_version(array.get(), H5Screate(H5S_SCALAR)));
  H5Tset_size(text.get(), 64);
  refused(attribute + "whole numbers of up to 8 bytes", with_version(text.get(), H5Screate(H5S_SCALAR)));
  H5Tset_size(text.get(), H5T_VARIABLE);
  refused(attribute + "whole numbers of up to 8 bytes", with_version(text.get(), H5Screate(H5S_SCALAR)));
}

TEST_F(UntrustedHdf5, ColumnsThatAreNoRowOfNumbers) {
  const hsize_t ten = 10;
  const Hdf5Lock lock;
  const Datatype array(H5Tarray_create2(H5T_STD_I64LE, 1, &ten)), text(H5Tcopy(H5T_C_S1)),
      list(H5Tvlen_create(H5T_STD_I64LE)), compound(H5Tcreate(H5T_COMPOUND, 16));
  H5Tset_size(text.get(), H5T_VARIABLE);
  H5Tinsert(compound.get(), "a", 0, H5T_STD_I64LE);
  const std::vector<hid_t> types = {array.get(),    text.get(),      list.get(),
                                    compound.get(), H5T_STD_REF_OBJ, H5T_IEEE_F64LE};
  for (const char* column : {"images/offset", "images/bytes", "texts/id"}) {
    for (const hid_t type : types) {
      refused(fmt::format("cannot read {} of {}: expected whole numbers of up to 8 bytes", column, path_.string()),
              [&](hid_t file, ShardFile&) { replace(file, column, type, 6); });
    }
  }
  refused("images/offset", [&](hid_t file, ShardFile&) {  // a group of this name
    H5Ldelete(file, "images/offset", H5P_DEFAULT);
    const Group made(H5Gcreate2(file, "images/offset", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });
  refused("expected one dimension", [&](hid_t file, ShardFile&) {
    H5Ldelete(file, "images/offset", H5P_DEFAULT);
    const Dataspace scalar(H5Screate(H5S_SCALAR));
    const Dataset made(
        H5Dcreate2(file, "images/offset", H5T_STD_I64LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });
}

// The manifest says so, too.
TEST_F(UntrustedHdf5, MoreRowsThanTheFileHasBytes) {
  for (const hsize_t rows : {hsize_t{1} << 31, hsize_t{1} << 40, hsize_t{1} << 59}) {
    const std::string claims = fmt::format("it claims {} rows of 8 bytes, but the file has", rows);
    const auto everywhere = [&](auto creation) {
      return [=](hid_t file, ShardFile& expected) {
        expected.images = static_cast<std::int64_t>(rows);
        const PropertyList owned = creation();
        for (const char* column : {"images/offset", "images/length", "images/crc32c", "images/id"}) {
          replace(file, column, H5T_STD_I64LE, rows, owned.get());
        }
      };
    };
    refused(claims, everywhere([] { return PropertyList(H5Pcreate(H5P_DATASET_CREATE)); }));
    refused("it was never written", everywhere([] { return chunked(1024); }));
    refused(claims, [&](hid_t file, ShardFile& expected) {  // of which one exists
      everywhere([] { return chunked(1024); })(file, expected);
      const Dataset offset(H5Dopen2(file, "images/offset", H5P_DEFAULT));
      const Dataspace space(H5Dget_space(offset.get()));
      const hsize_t first = 0, one = 1;
      const Dataspace memory(H5Screate_simple(1, &one, nullptr));
      H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &first, nullptr, &one, nullptr);
      const std::int64_t value = 0;
      H5Dwrite(offset.get(), H5T_NATIVE_INT64, memory.get(), space.get(), H5P_DEFAULT, &value);
    });
  }
}

TEST_F(UntrustedHdf5, BytesBehindTheEndOfTheFile) {
  // HDF5 accepts a shorter file where only the end of a data set is missing.
  const ShardFile file = write();
  for (const std::int64_t bytes : {file.bytes - 1, file.bytes / 2, std::int64_t{100}}) {
    ShardFile shorter = write();
    fs::resize_file(path_, static_cast<std::uintmax_t>(bytes));
    shorter.bytes = bytes;
    EXPECT_THAT([&] { ShardReader(path_, shorter); }, ThrowsMessage<Error>(HasSubstr(path_)));
  }
}

TEST_F(UntrustedHdf5, WhatLeadsToAnotherFile) {
  write_file(folder_.path() / "other", std::string(4096, 'x'));
  const std::string other = folder_.path() / "other";
  refused("images/id is a link to another place, expected it in this file", [&](hid_t file, ShardFile&) {
    H5Ldelete(file, "images/id", H5P_DEFAULT);
    H5Lcreate_external("elsewhere.h5", "/id", file, "images/id", H5P_DEFAULT, H5P_DEFAULT);
  });
  refused("images/id is a link to another place", [&](hid_t file, ShardFile&) {
    H5Ldelete(file, "images/id", H5P_DEFAULT);
    H5Lcreate_soft("/texts/id", file, "images/id", H5P_DEFAULT, H5P_DEFAULT);
  });
  refused("texts is a link to another place", [&](hid_t file, ShardFile&) {
    H5Ldelete(file, "texts", H5P_DEFAULT);
    H5Lcreate_external("elsewhere.h5", "/texts", file, "texts", H5P_DEFAULT, H5P_DEFAULT);
  });
  refused("its bytes are in another file", [&](hid_t file, ShardFile&) {
    const PropertyList creation(H5Pcreate(H5P_DATASET_CREATE));
    H5Pset_external(creation.get(), other.c_str(), 0, 48);
    replace(file, "images/id", H5T_STD_I64LE, 6, creation.get());
  });
  refused("its bytes are in another file", [&](hid_t file, ShardFile&) {
    const PropertyList creation(H5Pcreate(H5P_DATASET_CREATE));
    const hsize_t six = 6;
    const Dataspace space(H5Screate_simple(1, &six, nullptr));
    H5Pset_virtual(creation.get(), space.get(), other.c_str(), "id", space.get());
    replace(file, "images/id", H5T_STD_I64LE, 6, creation.get());
  });
}

TEST_F(UntrustedHdf5, NumbersThatTheirColumnCannotHold) {
  refused("cannot read images/length", [&](hid_t file, ShardFile&) {  // HDF5 alone would read 0
    replace(file, "images/length", H5T_STD_I64LE, 6);
    const Dataset length(H5Dopen2(file, "images/length", H5P_DEFAULT));
    const std::vector<std::int64_t> negative(6, -5);
    H5Dwrite(length.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, negative.data());
  });
  refused("cannot read images/id", [&](hid_t file, ShardFile&) {
    replace(file, "images/id", H5T_STD_U64LE, 6);
    const Dataset id(H5Dopen2(file, "images/id", H5P_DEFAULT));
    const std::vector<std::uint64_t> large(6, ~std::uint64_t{0});
    H5Dwrite(id.get(), H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, large.data());
  });
}

TEST_F(UntrustedHdf5, AFilterThatOnlyAPluginKnows) {
  write();
  const Hdf5Lock lock;
  unsigned plugins = 1;
  ASSERT_GE(H5PLget_loading_state(&plugins), 0);
  EXPECT_EQ(plugins, 0u) << "a file must not decide which code is loaded";
}

// Damages the bytes of the HDF5 structures around the columns, one at a time: the file must be read or refused.
TEST_F(UntrustedHdf5, AnyDamagedByteIsReadOrRefused) {
  const ShardFile file = write();
  const std::string sound = read_file(path_);
  std::int64_t refusals = 0;
  for (std::size_t at = 0; at < sound.size(); at += at < 4096 ? 3 : 17) {
    std::string damaged = sound;
    damaged[at] = static_cast<char>(damaged[at] ^ (at % 2 == 0 ? 0x80 : 0xff));
    const FileDescriptor fd(::open(path_.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    ASSERT_EQ(::write(fd.get(), damaged.data(), damaged.size()), static_cast<ssize_t>(damaged.size()));
    try {
      const ShardReader reader(path_, file);
      for (std::int64_t row = 0; row < reader.images(); ++row) reader.image(row);
      for (std::int64_t row = 0; row < reader.texts(); ++row) reader.text(row);
    } catch (const Error& error) {
      ++refusals;
      EXPECT_THAT(error.what(), HasSubstr(path_));
    }
  }
  EXPECT_GT(refusals, 300);
}

TEST_F(UntrustedHdf5, ALockNamesTheVariableThatTurnsLocksOff) {
  const ShardFile file = write();
  const FileDescriptor other = open_for_reading(path_);
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  EXPECT_THAT([&] { ShardReader(path_, file); },
              ThrowsMessage<Error>(AllOf(HasSubstr(path_), HasSubstr("HDF5_USE_FILE_LOCKING=FALSE"))));
}

}  // namespace
}  // namespace pixelbert::shards
