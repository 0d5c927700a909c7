"""An exported model beside true answers."""
