// The bodies of Asio, Beast and JSON, compiled once. Debian's static Boost.JSON is not
// position-independent, which the Python module must be.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
#include <boost/json/src.hpp>
