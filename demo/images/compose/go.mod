module eventpulse.local/compose

go 1.25

require github.com/docker/compose/v5 v5.5.1
