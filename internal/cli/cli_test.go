package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/lenet5/data"
)

// program is an example that finds no data, and draws little.
func program() *Program {
	return &Program{
		Name: "fashion", Purpose: "A test.", DataName: "Fashion-MNIST",
		Load: data.FashionMNIST, Synthetic: data.SyntheticGarments, Variant: "relu",
		DataOptions: []data.Option{data.Offline(), data.CacheDir("/nowhere"), data.SearchDirs()}, SyntheticSize: [2]int{128, 64},
	}
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv(data.EnvDir, "")
	var out, err bytes.Buffer
	code = program().Run(context.Background(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"-nonsense":                      {exitUsage, "-nonsense"},
		"-recipe worst":                  {exitUsage, "best, fast, textbook"},
		"-v 3":                           {exitUsage, "-v"},
		"-epochs -1":                     {exitUsage, "-epochs"},
		"-epochs x":                      {exitUsage, "epochs"},
		"-batch 0":                       {exitUsage, "-batch"},
		"-threads 0":                     {exitUsage, "-threads"},
		"-lr 0":                          {exitUsage, "-lr"},
		"-lr NaN":                        {exitUsage, "-lr"},
		"-lr Inf":                        {exitUsage, "-lr"},
		"-optimizer adan":                {exitUsage, "adamw"},
		"-device tpu":                    {exitUsage, "tpu"},
		"-variant lenet6":                {exitUsage, "sigmoid"},
		"-epochs 0":                      {exitUsage, "-model"},
		"-synthetic -data x":             {exitUsage, "exclude"},
		"-model x -variant relu":         {exitUsage, "exclude"},
		"-epochs 0 -model x -out y":      {exitUsage, "-out"},
		"stray":                          {exitUsage, "stray"},
		"-data /nowhere":                 {exitFailure, "/nowhere"},
		"-model /nowhere":                {exitFailure, "/nowhere"},
		"-synthetic -out " + file:        {exitFailure, "-out"},
		"-epochs 0 -model " + file:       {exitFailure, file},
		"-synthetic -lr 1e30 -epochs 30": {exitFailure, "learning rate"},
	} {
		code, stdout, stderr := run(t, strings.Fields(line)...)
		if code != want.code || !strings.Contains(stderr, want.text) {
			t.Errorf("%s: code %d, want %d; stderr %q, want one that mentions %q", line, code, want.code, stderr, want.text)
		}
		if code == exitUsage && stdout != "" {
			t.Errorf("%s: stdout %q", line, stdout)
		}
	}
}

func TestHelp(t *testing.T) {
	code, stdout, stderr := run(t, "-h")
	if code != exitOK || stderr != "" {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{"-data folder", "-epochs", "usage: fashion"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the help lacks %q", want)
		}
	}
}

var closing = regexp.MustCompile(`\nloss \d+\.\d{3}, train acc [01]\.\d{3}, test acc [01]\.\d{3}\n\d+\.\d examples/sec on cpu \([^)]+\)\n$`)

func TestTrainingOffline(t *testing.T) {
	code, stdout, stderr := run(t, "-epochs", "2")
	if code != exitOK {
		t.Fatalf("code %d: %s", code, stderr)
	}
	if !closing.MatchString(stdout) {
		t.Errorf("closing lines: %q", stdout)
	}
	for _, want := range []string{"SYNTHETIC DATA", "26x26x6", "60,074", "* train loss", "-out DIR"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("stdout lacks %q", want)
		}
	}
	for _, want := range []string{"FASHION-MNIST IS NOT TO BE HAD HERE", "SYNTHETIC", "epoch 2/2"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q", want)
		}
	}
}

func TestOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "run")
	code, stdout, stderr := run(t, "-synthetic", "-epochs", "1", "-out", dir)
	if code != exitOK || !closing.MatchString(stdout) {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	for _, name := range runFiles {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != len(runFiles)+2 {
		t.Errorf("%d files, want those, checkpoint.previous and the events", len(files))
	}
	svg, _ := os.ReadFile(filepath.Join(dir, "curves.svg"))
	if !strings.Contains(string(svg), "SYNTHETIC") {
		t.Error("the curves are not marked as synthetic")
	}
	model := filepath.Join(dir, "model.safetensors")
	before, _ := os.ReadFile(model)
	if code, _, stderr := run(t, "-synthetic", "-epochs", "1", "-out", dir); code != exitFailure || !strings.Contains(stderr, "holds a run") {
		t.Errorf("a second run: code %d, %s", code, stderr)
	}
	if after, _ := os.ReadFile(model); !bytes.Equal(before, after) {
		t.Error("a second run changed the first one's model")
	}
	if code, stdout, stderr := run(t, "-synthetic", "-epochs", "0", "-model", model); code != exitOK || !strings.Contains(stdout, "test acc 0.") {
		t.Errorf("evaluation: code %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := run(t, "-synthetic", "-epochs", "1", "-model", model); code != exitOK || !closing.MatchString(stdout) {
		t.Errorf("training on: code %d, %s", code, stdout)
	}
}

// The lines of steps are counted over all epochs, from 0.
func TestStepLines(t *testing.T) {
	p := program()
	p.StepLines = 3
	var out, stderr bytes.Buffer
	if code := p.Run(context.Background(), strings.Fields("-synthetic -batch 50 -epochs 3"), &out, &stderr); code != exitOK {
		t.Fatalf("code %d: %s", code, stderr.String())
	}
	// 128 images make 3 steps an epoch; an accuracy covers the steps since the line before.
	line := regexp.MustCompile(`(?m)^step (\d+): loss \d+\.\d{4}, accuracy [01]\.\d{4}$`)
	var steps []string
	for _, m := range line.FindAllStringSubmatch(out.String(), -1) {
		steps = append(steps, m[1])
	}
	if got := strings.Join(steps, " "); got != "0 3 6" {
		t.Errorf("lines for the steps %s, want 0 3 6", got)
	}
	if !regexp.MustCompile(`(?m)^test accuracy: [01]\.\d{4}$`).MatchString(out.String()) || !closing.MatchString(out.String()) {
		t.Errorf("the end: %q", out.String())
	}
}

func TestRecipe(t *testing.T) {
	code, stdout, stderr := run(t, "-synthetic", "-recipe", "best", "-epochs", "1", "-v", "2")
	if code != exitOK || !closing.MatchString(stdout) {
		t.Fatalf("code %d: %s", code, stderr)
	}
	for _, want := range []string{"variant modern", "epochs 1, batch 64, AdamW, learning rate", "one cycle", "flip"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("stdout lacks %q: %s", want, stdout)
		}
	}
	if !strings.Contains(stderr, "fwd MFLOP") {
		t.Errorf("-v 2 does not show the plan: %s", stderr)
	}
	// The recipe gives way to flags.
	code, stdout, stderr = run(t, "-synthetic", "-recipe", "textbook", "-variant", "relu", "-epochs", "1", "-batch", "32", "-lr", "0.1", "-v", "0")
	for _, want := range []string{"variant relu", "epochs 1, batch 32, SGD, learning rate 0.1"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("code %d, stdout lacks %q: %s", code, want, stdout)
		}
	}
	if strings.Contains(stderr, "epoch") {
		t.Errorf("-v 0 shows progress: %s", stderr)
	}
}

func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var out bytes.Buffer
	stderr := &cancelling{after: "/1000:", cancel: cancel}
	code := program().Run(ctx, []string{"-synthetic", "-epochs", "1000", "-out", dir}, &out, stderr)
	if code != exitInterrupted || !strings.Contains(stderr.String(), "interrupted") || !strings.Contains(stderr.String(), dir) {
		t.Errorf("code %d, %s", code, stderr.String())
	}
	for _, name := range []string{"model.safetensors", "history.csv", "checkpoint"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// cancelling is a writer that pulls the plug once it has seen a text.
type cancelling struct {
	bytes.Buffer
	after  string
	cancel func()
}

func (c *cancelling) Write(b []byte) (int, error) {
	n, err := c.Buffer.Write(b)
	if strings.Contains(c.String(), c.after) {
		c.cancel()
	}
	return n, err
}
