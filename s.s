.intel_syntax noprefix
sete al
out 0xe2, al
