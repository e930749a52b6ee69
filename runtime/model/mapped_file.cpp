#include "runtime/model/mapped_file.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::model {

result<mapped_file> mapped_file::open(const std::filesystem::path& path) {
  const auto failed = [&](int number) {
    return error{number == ENOENT ? errc::not_found : errc::bad_input, path.string() + ": " + std::strerror(number)};
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed(errno);
  struct stat about {};
  const bool regular = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
  const auto size = regular ? static_cast<std::size_t>(about.st_size) : 0;
  void* data = size ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
  const int number = errno;
  ::close(fd);
  if (!regular) return error{errc::bad_input, path.string() + ": not a regular file"};
  if (data == MAP_FAILED) return failed(number);
  return mapped_file({static_cast<const std::byte*>(data), size});
}

mapped_file::~mapped_file() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

} // namespace troupe::model
