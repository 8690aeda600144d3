package kernel

//go:generate sh -c "cd _asm && go run . -isa avx512 -out ../avx512_amd64.s -table ../avx512_amd64.go"
//go:generate sh -c "cd _asm && go run . -isa avx2 -out ../avx2_amd64.s -table ../avx2_amd64.go"
