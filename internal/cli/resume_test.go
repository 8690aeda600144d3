package cli

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/lenet5/data"
)

// The tests run this binary as the example itself, to kill it.
const asProgram = "LENET5_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		Main(program())
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), asProgram+"=1", data.EnvDir+"=")
	return c
}

// results returns the files that a run must leave bit by bit: the model, and
// the history without its timings.
func results(t *testing.T, dir string) string {
	t.Helper()
	model, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	history, err := os.ReadFile(filepath.Join(dir, "history.csv"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(history)) {
		fields := strings.Split(line, ",")
		b.WriteString(strings.Join(fields[:6], ",") + "\n")
	}
	b.Write(model)
	return b.String()
}

// A process that is killed at random moments, and resumed each time, leaves
// what one leaves that was never stopped.
func TestKilled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals on Windows")
	}
	if raceDetector {
		t.Skip("what this is about is files, and slow with the race detector")
	}
	flags := []string{"-synthetic", "-epochs", "12", "-optimizer", "adam", "-seed", "5", "-batch", "10"}
	whole := filepath.Join(t.TempDir(), "whole")
	if out, err := command(append(flags, "-out", whole)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := results(t, whole)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) // every time at other moments
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		dir := filepath.Join(t.TempDir(), "run")
		args := append(flags, "-out", dir, "-resume")
		kills, goodbyes := 0, 0
		for {
			// It is killed so many epochs after it began, and a moment.
			stopped, said := runUntil(t, signal, rng.IntN(4), time.Duration(rng.IntN(30))*time.Millisecond, args)
			if stopped == notStopped {
				break
			}
			kills++
			if stopped == saidGoodbye {
				goodbyes++
				if !strings.Contains(said, "-resume") {
					t.Errorf("interrupted: %s", said)
				}
			}
			// From now on the settings come from the checkpoint, if one was made.
			if _, err := os.Stat(filepath.Join(dir, "checkpoint")); err == nil {
				args = []string{"-out", dir, "-resume"}
			}
		}
		t.Logf("%v: stopped %d times, %d of them with a goodbye", signal, kills, goodbyes)
		if kills == 0 || signal == syscall.SIGINT && goodbyes == 0 {
			t.Errorf("%v: stopped %d times, %d of them with a goodbye", signal, kills, goodbyes)
		}
		if results(t, dir) != want {
			t.Errorf("%v: after %d stops the model or the history is another", signal, kills)
		}
	}
}

// How a process ended.
const (
	notStopped  = iota
	wasKilled   // also by SIGINT, before it listens
	saidGoodbye // it exited with the code of an interruption
)

// runUntil runs the program, and sends it a signal once it has reported some
// epochs and a moment has passed. It returns how it ended, and what it said.
func runUntil(t *testing.T, signal syscall.Signal, epochs int, moment time.Duration, args []string) (int, string) {
	t.Helper()
	c := command(args...)
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	// A process that hangs shows its goroutines.
	watchdog := time.AfterFunc(time.Minute, func() { c.Process.Signal(syscall.SIGQUIT) })
	defer watchdog.Stop()
	var said strings.Builder
	kill := func() { time.AfterFunc(moment, func() { c.Process.Signal(signal) }) }
	if epochs == 0 {
		kill()
	}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if strings.HasPrefix(lines.Text(), "epoch ") {
			if epochs--; epochs == 0 {
				kill()
			}
		}
	}
	err = c.Wait()
	if err == nil {
		return notStopped, said.String()
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	switch {
	case exit.ExitCode() == exitInterrupted && signal == syscall.SIGINT:
		return saidGoodbye, said.String()
	case status.Signaled() && status.Signal() == signal:
		return wasKilled, said.String()
	}
	t.Fatalf("%v: %s", err, said.String())
	return 0, ""
}

func TestResumeFlags(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	code, stdout, stderr := run(t, "-synthetic", "-epochs", "2", "-lr", "0.02", "-out", dir, "-resume")
	if code != exitOK || !strings.Contains(stderr, "a new run begins") || !closing.MatchString(stdout) {
		t.Fatalf("a new run: code %d: %s%s", code, stdout, stderr)
	}
	// A run that is complete gives its result again.
	code, again, stderr := run(t, "-out", dir, "-resume")
	if code != exitOK || !strings.Contains(again, "resuming: 2 epochs") || !closing.MatchString(again) {
		t.Errorf("a complete run: code %d: %s%s", code, again, stderr)
	}
	if a, b := closing.FindString(stdout), closing.FindString(again); a != b {
		t.Errorf("a complete run: %q, then %q", a, b)
	}
	code, stdout, stderr = run(t, "-out", dir, "-resume", "-epochs", "3")
	if code != exitOK || !strings.Contains(stdout, "learning rate 0.02") || !strings.Contains(stderr, "epoch 3/3") {
		t.Errorf("a longer run: code %d: %s%s", code, stdout, stderr)
	}
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"-resume", "-out DIR", exitUsage},
		{"-lr 0.03 -resume -out " + dir, "-lr was 0.02", exitFailure},
		{"-seed 4 -resume -out " + dir, "-seed was left away", exitFailure},
		{"-resume -epochs 1 -out " + dir, "the number of epochs was", exitFailure},
		{"-synthetic -epochs 1 -out " + dir, "go on with it by -resume", exitFailure},
	} {
		if code, _, stderr := run(t, strings.Fields(c.args)...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: code %d: %s", c.args, code, stderr)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoint"), []byte("rubbish, of some length"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, "-resume", "-out", dir); code != exitFailure || !strings.Contains(stderr, "checkpoint.previous") {
		t.Errorf("a damaged checkpoint: code %d: %s", code, stderr)
	}
}
