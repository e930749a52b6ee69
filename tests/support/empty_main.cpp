// The program of whole-archive link tests (tests/CMakeLists.txt): the libraries are what matters.
int main() {}
