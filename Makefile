PYTHON ?= .venv/bin/python
.PHONY: proto
proto: ## Regenerate the gRPC code from proto/
	$(PYTHON) -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. --grpc_python_out=. $$(find proto -name '*.proto' | sort)
