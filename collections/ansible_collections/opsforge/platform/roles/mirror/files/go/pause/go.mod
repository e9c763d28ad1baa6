module opsforge.dev/mirror/pause

go 1.26.0
