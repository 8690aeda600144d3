package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"example.com/lenet5/internal/pretrained"
	"example.com/lenet5/internal/serve"
	"example.com/lenet5/lenet"
)

// MainServe runs the server until SIGINT or SIGTERM, and exits.
func MainServe() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { <-ctx.Done(); stop() }() // a second signal ends the process at once
	os.Exit(Serve(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Serve serves until ctx ends, and returns the exit code.
func Serve(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	addr := fs.String("addr", "127.0.0.1:8080", "`address` to listen on; port 0 takes a free one")
	model := fs.String("model", "", "the network, a `file` that a training run left; by default a network for\nhandwritten digits that is part of the program")
	device := fs.String("device", "auto", "where to run: `auto|cpu|cuda`, or cuda:1 for the second GPU;\nauto takes a GPU if there is one and the program was built for it")
	threads := fs.Int("threads", 0, "`number` of threads; by default as many as there are processors")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, "Serve answers predictions over HTTP, and shows a page to draw on.\n\nusage: serve [flags]\n\n")
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		fmt.Fprint(stdout, "\nPOST /v1/predict takes a picture (Content-Type image/*), images of bytes\n(application/octet-stream), or {\"images\": [[0-255, ...], ...]} (application/json).\nSIGINT and SIGTERM let requests in progress finish; the exit code is 0.\n")
		return exitOK
	case err != nil:
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q; every setting is a flag", fs.Arg(0))
	case *threads < 0:
		err = fmt.Errorf("-threads %d: it must be at least 1", *threads)
	}
	if err != nil {
		fmt.Fprintf(stderr, "serve: %v\nRun it with -h for the flags.\n", err)
		return exitUsage
	}
	if err := listen(ctx, *addr, *model, stdout, stderr, lenet.OnDevice(*device), lenet.Threads(*threads)); err != nil {
		fmt.Fprintf(stderr, "serve: %v\n", err)
		return exitFailure
	}
	return exitOK
}

func listen(ctx context.Context, addr, model string, stdout, stderr io.Writer, opts ...lenet.Option) error {
	var n *lenet.Net
	var err error
	if model == "" {
		n, err = pretrained.Digits(opts...)
	} else {
		n, err = lenet.Load(model, opts...)
	}
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	s, err := serve.New(n)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer s.Close()
	fmt.Fprintf(stdout, "%s on %s: http://%s\n", n.Config().Name, n.Device(), l.Addr())
	if err := s.Run(ctx, l, log.New(stderr, "serve: ", 0)); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "stopped")
	return nil
}
