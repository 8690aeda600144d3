// Typecheck checks the types of the packages that a build with the tag gpu
// compiles, on a machine that lacks the header cuda.h. Packages that use cgo
// are read from their source, with whatever they take from C left open; all
// others come from the build cache.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

type listed struct {
	ImportPath, Dir, Export string
	GoFiles, CgoFiles       []string
	Imports                 []string
	Standard                bool
}

// checker is a [types.Importer].
type checker struct {
	fset     *token.FileSet
	packages map[string]listed
	done     map[string]*types.Package
	compiled types.Importer
	sources  int
}

// open reports whether the package or one that it imports takes something from
// C that only a toolkit has.
func (c *checker) open(path string) bool {
	p := c.packages[path]
	if p.Standard {
		return false
	}
	if len(p.CgoFiles) > 0 {
		return true
	}
	for _, i := range p.Imports {
		if c.open(i) {
			return true
		}
	}
	return false
}

func (c *checker) Import(path string) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	if !c.open(path) {
		return c.compiled.Import(path)
	}
	if p, ok := c.done[path]; ok {
		return p, nil
	}
	p := c.packages[path]
	var files []*ast.File
	for _, name := range append(append([]string{}, p.GoFiles...), p.CgoFiles...) {
		f, err := parser.ParseFile(c.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	var errs []error
	conf := types.Config{Importer: c, FakeImportC: true, Error: func(err error) {
		if !strings.Contains(err.Error(), "invalid type") { // one of C's
			errs = append(errs, err)
		}
	}}
	pkg, _ := conf.Check(path, c.fset, files, nil)
	c.done[path] = pkg
	c.sources++
	if !strings.HasPrefix(path, "example.com/lenet5") {
		return pkg, nil // constants of C that are not known look alike
	}
	return pkg, errors.Join(errs...)
}

func run() error {
	list := exec.Command("go", append([]string{"list", "-e", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles,Imports,Standard", "-tags", "gpu"}, os.Args[1:]...)...)
	list.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := list.Output()
	if len(out) == 0 {
		return fmt.Errorf("go list: %w", err)
	}
	c := &checker{fset: token.NewFileSet(), packages: map[string]listed{}, done: map[string]*types.Package{}}
	c.compiled = importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(c.packages[path].Export) })
	var paths []string
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("go list: %w", err)
		}
		c.packages[p.ImportPath] = p
		paths = append(paths, p.ImportPath)
	}
	for _, path := range paths {
		if c.open(path) {
			if _, err := c.Import(path); err != nil {
				return err
			}
		}
	}
	if c.sources < 3 {
		return fmt.Errorf("only %d packages that need the header", c.sources)
	}
	fmt.Printf("the types of %d packages agree\n", c.sources)
	return nil
}

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
