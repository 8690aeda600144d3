// Predict classifies image files. Run it with -h for its flags.
package main

import "example.com/lenet5/internal/cli"

func main() { cli.MainPredict() }
