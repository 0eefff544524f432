// Room in the log of commits, taken before it is needed.
#ifndef BATCHNORMD_SERVER_STORAGE_LOG_ROOM_H_
#define BATCHNORMD_SERVER_STORAGE_LOG_ROOM_H_

#include <cstdint>
#include <string>

namespace batchnorm::storage {

// Fills the file with zeros up to this length, if it is shorter, and flushes
// them. A commit that is written into them changes no more than they hold: its
// flush need not tell the file system that the file has grown, which takes as
// long again. In SQLite's log zeros are no commit, whatever happens.
//
// Leaves the file as it was where that cannot be done: on a full disk the room
// is better left to others.
void TakeLogRoom(const std::string& path, std::int64_t bytes);

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_LOG_ROOM_H_
