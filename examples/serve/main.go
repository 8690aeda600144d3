// Serve answers predictions over HTTP, and shows a page to draw on. Run it with
// -h for its flags.
package main

import "example.com/lenet5/internal/cli"

func main() { cli.MainServe() }
