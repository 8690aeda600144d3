package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, s := range []string{"first", "second, which is longer"} {
		if err := Write(path, text(s)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != s {
			t.Errorf("%q, want %q", got, s)
		}
	}
	broken := errors.New("broken")
	err := Write(path, func(w io.Writer) error { text("half")(w); return broken })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), path) {
		t.Errorf("a writer that fails: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "second, which is longer" {
		t.Errorf("a writer that fails leaves %q", got)
	}
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(folder, text("")); err == nil {
		t.Error("a folder in the way: no error")
	}
	if err := Write(filepath.Join(dir, "no", "such", "folder"), text("")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("%d entries are left, want 2", len(left))
	}
}
