# cmake -DOUTPUT=files.cc -DINPUTS="a;b" -P embed.cmake: the bytes of files as C++, for server/http/embedded.h.
set(definitions)
set(entries)
set(n 0)
foreach(input ${INPUTS})
  file(READ ${input} hex HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  get_filename_component(name ${input} NAME)
  string(APPEND definitions "constexpr unsigned char k${n}[] = {\n${hex}0};\n")
  string(APPEND entries "    {\"${name}\", {reinterpret_cast<const char*>(k${n}), sizeof(k${n}) - 1}},\n")
  math(EXPR n "${n} + 1")
endforeach()
file(WRITE ${OUTPUT}
     "#include \"server/http/embedded.h\"\n\nnamespace swiftlet {\nnamespace {\n${definitions}}  // namespace\n\n"
     "std::string_view Embedded(std::string_view name) {\n"
     "  static const std::pair<std::string_view, std::string_view> kFiles[] = {\n${entries}  };\n"
     "  for (const auto& [file, bytes] : kFiles) {\n    if (file == name) return bytes;\n  }\n  return {};\n}\n\n"
     "}  // namespace swiftlet\n")
