// The version of the server, from the build.
#ifndef SWIFTLET_SERVER_VERSION_H_
#define SWIFTLET_SERVER_VERSION_H_

namespace swiftlet {

// SWIFTLET_VERSION is the CMake project's version.
inline constexpr char kServerVersion[] = SWIFTLET_VERSION;

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_VERSION_H_
